"""All writing to disk, in one place: whole files or none, on a folder's descriptor, with reasons a person can read.

A save that is killed, or that meets a full or failing disk, at any moment leaves the old file or the new one under the
name, never a part of one. Faults can be injected here, and only here.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import math
import os
import platform
import re
import secrets
import shutil
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from fcnet import signals
from fcnet.errors import InUseError, StorageError, UsageError

try:
    import fcntl

    _LOCKS = True
except ImportError:  # Windows: runs are not locked there
    _LOCKS = False

try:
    import resource

    _LIMITS = True
except ImportError:  # Windows knows no such limits
    _LIMITS = False

Buffer = bytes | bytearray | memoryview

LOCK = ".lock"
_TEMPORARY = re.compile(r"\.fcnet-[0-9a-f]{32}\.tmp")
_ON_DESCRIPTORS = os.open in os.supports_dir_fd
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_BINARY = getattr(os, "O_BINARY", 0)
_BLOCK = 1 << 20
_MOST_HOLDER = 4096  # bytes of a lock file that are looked at

_REASONS = {
    errno.ENOSPC: "the disk is full; free some space or choose another folder",
    errno.EDQUOT: "the disk quota is used up; free some space or choose another folder",
    errno.EFBIG: "the file would be larger than the limit on file sizes (ulimit -f)",
    errno.EROFS: "the file system is read-only; choose another folder",
    errno.EACCES: "no permission",
    errno.EPERM: "no permission",
    errno.EIO: "the disk failed (input/output error); check it before you go on",
    errno.ENOENT: "no such file or folder",
    errno.ENOTDIR: "a part of the path is no folder",
    errno.EISDIR: "it is a folder",
    errno.EEXIST: "something else has that name",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ELOOP: "it is a symbolic link, which is not followed here",
    errno.EMFILE: "too many files are open (ulimit -n)",
    errno.ENFILE: "too many files are open on this machine",
}


def reason(error: OSError) -> str:
    """What went wrong, in words, and what to do about it."""
    return _REASONS.get(error.errno or 0) or (error.strerror or str(error)).lower()


def storage_error(path: Path | str, error: OSError, needed: int | None = None) -> StorageError:
    """The StorageError for `error` at `path`; `needed` is the size in bytes of what was to be written."""
    text = reason(error)
    if error.errno in (errno.EACCES, errno.EPERM):
        text += _mode(Path(path))
    if needed is not None and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        text += f" ({needed:,} bytes are needed)"
    return StorageError(text, file=str(path))


def _mode(path: Path) -> str:
    for place in (path, path.parent):
        with contextlib.suppress(OSError):
            return f' ("{place}" has the mode {stat.filemode(os.stat(place).st_mode)})'
    return ""


@contextlib.contextmanager
def _storing(path: Path | str, needed: int | None = None) -> Iterator[None]:
    """Turn every OSError into the StorageError that names `path`."""
    try:
        yield
    except OSError as error:
        raise storage_error(path, error, needed) from error


def disk_free(path: Path) -> int:
    """Bytes that this user can still write where `path` is, or will be once its missing folders are made."""
    place = Path(os.path.abspath(path))
    while not os.path.exists(place) and place != place.parent:
        place = place.parent
    with _storing(path):
        return shutil.disk_usage(place).free


def address_space() -> int | None:
    """The limit on this process's address space in bytes (ulimit -v); None where there is none."""
    if not _LIMITS:
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if soft == resource.RLIM_INFINITY else soft


def json_text(value: Any, indent: int | None = None, only_ascii: bool = False) -> str:
    """`value` as strict JSON, in which NaN and the infinities are null, and numbers read back equal."""
    return json.dumps(_plain(value), indent=indent, ensure_ascii=only_ascii, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {_plain(str(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, str):  # a file name that is no UTF-8 comes as lone surrogates, which no encoder takes
        return value.encode("utf-8", "replace").decode("utf-8")
    if hasattr(value, "tolist"):  # NumPy's scalars and arrays
        return _plain(value.tolist())
    return value if not isinstance(value, float) or math.isfinite(value) else None


def open_plain(path: Path | str) -> BinaryIO:
    """Open a plain file for reading. A folder, pipe, device or socket is an OSError at once, and never waited for."""
    _refuse_special(path, os.stat(path).st_mode)
    fd = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _BINARY)
    try:
        _refuse_special(path, os.fstat(fd).st_mode)
        return os.fdopen(fd, "rb", buffering=0)
    except BaseException:
        os.close(fd)
        raise


def _refuse_special(path: Path | str, mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, f"not a regular file: it is {_kind(mode)}", str(path))


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


class Folder(contextlib.AbstractContextManager["Folder"]):
    """An open folder that keeps meaning the same folder, whatever happens to its name; closes with `with`.

    Every method works on the folder's descriptor. Before a whole file is written, the folder must still stand under
    its path: one that was moved, deleted or replaced while a run went on is a StorageError, not a second place.
    New files have the mode 0666 less the umask, temporary ones as well.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._real = os.path.realpath(path)
        self._fd: int | None = None
        self._lock: int | None = None
        with _storing(path):
            if _ON_DESCRIPTORS:
                self._fd = os.open(self._real, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
            elif not os.path.isdir(self._real):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the lock and the descriptor; a second call does nothing."""
        if self._lock is not None:
            with contextlib.suppress(OSError):
                os.unlink(LOCK, dir_fd=self._fd)
            for locked in filter(None, (self._lock, self._fd)):
                # A process that has just been started holds copies until its program runs, and a lock with them.
                with contextlib.suppress(OSError):
                    fcntl.flock(locked, fcntl.LOCK_UN)
        for fd in (self._lock, self._fd):
            if fd is not None:
                with contextlib.suppress(OSError):  # nothing was written through these
                    os.close(fd)
        self._fd = self._lock = None

    def _at(self, name: str) -> str:
        return name if self._fd is not None else os.path.join(self._real, name)

    def _check_place(self) -> None:
        """The folder must still be what stands under its path."""
        if self._fd is None:
            return
        try:
            same = os.path.samestat(os.fstat(self._fd), os.stat(self._real, follow_symlinks=False))
        except FileNotFoundError:
            same = False
        except OSError as error:
            raise storage_error(self.path, error) from error
        if not same:
            raise StorageError("the folder was moved, deleted or replaced while it was in use", file=str(self.path))

    def names(self) -> list[str]:
        """The names of what the folder holds, sorted."""
        with _storing(self.path):
            return sorted(os.listdir(self._fd if self._fd is not None else self._real))

    def status(self) -> os.stat_result:
        """Owner and mode of the folder itself."""
        with _storing(self.path):
            return os.fstat(self._fd) if self._fd is not None else os.stat(self._real)

    def read(self, name: str) -> bytes | None:
        """All bytes of the plain file `name`; None where there is none."""
        path = self.path / name
        with _storing(path):
            try:
                fd = os.open(
                    self._at(name), os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _NOFOLLOW | _BINARY, dir_fd=self._fd
                )
            except FileNotFoundError:
                return None
            with os.fdopen(fd, "rb") as file:
                _refuse_special(path, os.fstat(fd).st_mode)
                return file.read()

    def write(self, name: str, chunks: Iterable[Buffer], needed: int | None = None, seal: bool = False) -> str:
        """Write the whole file `name`, durably, and replace what stood there; the SHA-256 of what was written.

        A temporary file in the same folder is created exclusively, written, flushed to the disk, read back and
        compared, renamed, and the folder flushed. Whatever fails, the temporary is removed and StorageError raised;
        an fsync that failed is never tried again. With `seal` the 64 hexadecimal digits of the SHA-256 of all that
        came before are added as the last bytes. `needed` is the size in bytes, for the message about a full disk.
        """
        path = self.path / name
        digest = hashlib.sha256()
        with self._temporary(name) as fd, _storing(path, needed):
            for chunk in chunks:
                _write_all(fd, chunk)
                digest.update(chunk)
            if seal:
                last = digest.hexdigest().encode()
                _write_all(fd, last)
                digest.update(last)
            os.fsync(fd)
            if _digest_of(fd) != digest.digest():
                raise StorageError("what was read back is not what was written: the disk is failing", file=str(path))
        return digest.hexdigest()

    @contextlib.contextmanager
    def stream(self, name: str) -> Iterator[BinaryIO]:
        """A binary file that takes the name `name` when the block ends, and vanishes when it is left otherwise."""
        path = self.path / name
        with self._temporary(name) as fd, io.BufferedWriter(_Storing(fd, path), _BLOCK) as file:
            yield file
            if not file.closed:  # a text layer put over it may have closed it
                file.flush()
            with _storing(path):
                os.fsync(fd)

    @contextlib.contextmanager
    def _temporary(self, name: str) -> Iterator[int]:
        """The descriptor of a new file, renamed to `name` when the block ends well and removed when it does not."""
        self._check_place()
        path = self.path / name
        temporary = self._at(f".fcnet-{secrets.token_hex(16)}.tmp")
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | _NOFOLLOW | _BINARY
        with _storing(path):
            fd = os.open(temporary, flags, 0o666, dir_fd=self._fd)
        is_open = True
        try:
            with signals.undoing(lambda: os.unlink(temporary, dir_fd=self._fd)):
                yield fd
                with signals.polling(), _storing(path):  # a signal comes before it has its name, or too late
                    is_open = False  # whatever close reports, the descriptor is gone
                    os.close(fd)
                    os.replace(temporary, self._at(name), src_dir_fd=self._fd, dst_dir_fd=self._fd)
                    self.sync()
        except BaseException:
            if is_open:
                with contextlib.suppress(OSError):
                    os.close(fd)
            with contextlib.suppress(OSError):
                os.unlink(temporary, dir_fd=self._fd)
            raise

    def sync(self) -> None:
        """Flush the folder's list of names to the disk."""
        if self._fd is None:
            return
        with _storing(self.path):
            try:
                os.fsync(self._fd)
            except OSError as error:
                if error.errno != errno.EINVAL:  # some network and FAT file systems cannot flush a folder
                    raise

    def append(self, name: str, data: bytes, sync: bool = False) -> None:
        """Add `data` to the end of the existing file `name`, all of it or nothing; `sync` flushes it to the disk."""
        path = self.path / name
        flags = os.O_WRONLY | os.O_APPEND | _NOFOLLOW | _BINARY
        with _storing(path, len(data)):
            fd = os.open(self._at(name), flags, dir_fd=self._fd)
            try:
                before = os.fstat(fd).st_size
                try:
                    _write_all(fd, data)
                    if sync:
                        os.fsync(fd)
                except OSError:
                    with contextlib.suppress(OSError):
                        os.ftruncate(fd, before)
                    raise
            finally:
                os.close(fd)

    def truncate(self, name: str, size: int) -> None:
        """Keep the first `size` bytes of the file `name`, durably."""
        with _storing(self.path / name):
            fd = os.open(self._at(name), os.O_WRONLY | _NOFOLLOW | _BINARY, dir_fd=self._fd)
            try:
                os.ftruncate(fd, size)
                os.fsync(fd)
            finally:
                os.close(fd)

    def remove(self, name: str) -> None:
        """Remove the file `name` where there is one."""
        with _storing(self.path / name), contextlib.suppress(FileNotFoundError):
            os.unlink(self._at(name), dir_fd=self._fd)

    def sweep(self) -> None:
        """Remove temporary files that killed saves left here. Only for the holder of the lock."""
        for name in self.names():
            if _TEMPORARY.fullmatch(name):
                self.remove(name)

    def lock(self) -> bool:
        """Lock the folder for this process until it closes the folder or ends, however it ends.

        False where the file system knows no locks. Raises InUseError, which names the holder's process, host and
        start, when another process has it. The lock is `flock` on the folder itself, so no name in it can be removed or
        put back to get round it, and on a file in it, which says whose it is and is seen from other machines where a
        lock of a folder is not (NFS). It vanishes with its process, is not inherited, and is not lost when some other
        descriptor of folder or file is closed.
        """
        if not _LOCKS:
            return False
        with _storing(self.path / LOCK):
            assert self._fd is not None  # where there are locks there are descriptors of folders
            try:
                whole = _flock(self._fd)
            except BlockingIOError:
                text = None
                with contextlib.suppress(StorageError):
                    text = self.read(LOCK)
                raise InUseError(_in_use(text), file=str(self.path)) from None
            try:
                return self._lock_file() or whole
            except BaseException:
                if whole:
                    fcntl.flock(self._fd, fcntl.LOCK_UN)
                raise

    def _lock_file(self) -> bool:
        while True:
            fd = os.open(LOCK, os.O_RDWR | os.O_CREAT | _NOFOLLOW, 0o666, dir_fd=self._fd)
            try:
                locked = _flock(fd)
                if self._is_lock(fd):  # and not one that its holder has just removed
                    _write_holder(fd)
                    self._lock = fd
                    return locked
            except BlockingIOError:
                raise InUseError(_in_use(os.pread(fd, _MOST_HOLDER, 0)), file=str(self.path)) from None
            finally:
                if self._lock != fd:
                    os.close(fd)

    def _is_lock(self, fd: int) -> bool:
        try:
            return os.path.samestat(os.fstat(fd), os.stat(LOCK, dir_fd=self._fd, follow_symlinks=False))
        except FileNotFoundError:
            return False

    def trade_places(self, other: Folder) -> bool:
        """Exchange the names of two folders in one step; False, with nothing changed, where the system cannot."""
        self._check_place()
        other._check_place()
        if not _exchange(self._real, other._real):
            return False
        self.path, other.path = other.path, self.path
        self._real, other._real = other._real, self._real
        sync_folder(self.path.parent)
        return True

    def rename(self, path: Path) -> None:
        """Give the folder a new, free name beside its old one."""
        self._check_place()
        real = os.path.join(os.path.dirname(self._real), path.name)
        with _storing(path):
            os.rename(self._real, real)
        self.path, self._real = path, real
        sync_folder(path.parent)


class _Storing(io.FileIO):
    """A raw file whose failing writes are StorageErrors that name the file they were meant for."""

    def __init__(self, fd: int, path: Path) -> None:
        super().__init__(fd, "r+", closefd=False)
        self._path = path

    def write(self, data: Any, /) -> int:
        with _storing(self._path):
            return super().write(data)


def _write_all(fd: int, data: Buffer) -> None:
    view = memoryview(data).cast("B")
    while view:
        view = view[os.write(fd, view) :]


def _digest_of(fd: int) -> bytes:
    digest = hashlib.sha256()
    os.lseek(fd, 0, os.SEEK_SET)
    while block := os.read(fd, _BLOCK):
        digest.update(block)
    return digest.digest()


def _write_holder(fd: int) -> None:
    holder = {"pid": os.getpid(), "host": platform.node(), "started": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"}
    os.ftruncate(fd, 0)
    _write_all(fd, json_text(holder).encode())


def _in_use(text: bytes | None) -> str:
    """Whose lock it is, by what its file says, and what to do."""
    try:
        holder = json.loads(text or b"")
        who = f"process {int(holder['pid'])} on {str(holder['host'])[:255]} since {str(holder['started'])[:40]}"
    except (ValueError, LookupError, TypeError, OverflowError, RecursionError):  # not yet written, or by nobody of ours
        who = "another process"
    return f"in use by {who}; wait until it ends, or stop it"


def _flock(fd: int) -> bool:
    """Lock an open file or folder; False where that is not to be had. BlockingIOError where another one has it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError as error:
        if error.errno in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF, errno.EINVAL):
            return False
        raise
    return True


def _exchange(a: str, b: str) -> bool:
    """Exchange two paths in one step, by renameat2 (Linux) or renamex_np (macOS); False where that is not to be had."""
    import ctypes

    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if sys.platform == "darwin":
            return bool(libc.renamex_np(os.fsencode(a), os.fsencode(b), 2) == 0)
        return bool(libc.renameat2(-100, os.fsencode(a), -100, os.fsencode(b), 2) == 0)
    except (AttributeError, OSError, TypeError):
        return False


def near(path: Path) -> Path:
    """`path` from the working directory where it lies below it, else as it is."""
    try:
        return path.resolve().relative_to(Path.cwd())
    except (ValueError, OSError, RuntimeError):
        return path


def is_folder(path: Path) -> bool:
    """Whether `path` is a folder, or a link to one; False for one that cannot be looked at."""
    return os.path.isdir(path)


def is_there(path: Path) -> bool:
    """Whether something has the name `path`, be it a link that leads nowhere."""
    return os.path.lexists(path)


def make_folder(path: Path) -> None:
    """Make the folder `path`, which must be new (FileExistsError otherwise); its parents are made as needed."""
    with _storing(path.parent):
        os.makedirs(path.parent, exist_ok=True)
    try:
        os.mkdir(path)
    except FileExistsError:
        raise
    except OSError as error:
        raise storage_error(path, error) from error
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Flush the folder's list of names to the disk."""
    with Folder(path) as folder:
        folder.sync()


def remove_tree(path: Path) -> None:
    """Remove a folder and what it holds as far as that goes; links are removed, not followed."""
    shutil.rmtree(path, ignore_errors=True)


def check_output(path: Path, inputs: Iterable[Path] = ()) -> list[str]:
    """Whether `path` may be written: UsageError when it is one of the `inputs` or no plain file; notices otherwise."""
    try:
        there = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise storage_error(path, error) from error
    if not stat.S_ISREG(there.st_mode):
        raise UsageError(f"the output is {_kind(there.st_mode)}, not a file; name a file", file=str(path))
    for source in inputs:
        with contextlib.suppress(OSError):
            if os.path.samestat(there, os.stat(source)):
                raise UsageError("is an input, and would be replaced by the output; name another file", file=str(path))
    return [f"{path} is replaced"]


@contextlib.contextmanager
def replacing(path: Path, inputs: Iterable[Path] = ()) -> Iterator[BinaryIO]:
    """A binary file that takes the place of `path` when the block ends, and vanishes when it fails or is interrupted.

    A symbolic link is followed once, at the start. Missing folders are made. Raises what `check_output` raises, and
    StorageError.
    """
    check_output(path, inputs)
    real = Path(os.path.realpath(path))
    with _storing(path.parent):
        os.makedirs(real.parent, exist_ok=True)
    with Folder(real.parent) as folder, folder.stream(real.name) as file:
        yield file


def write_file(path: Path, data: bytes, inputs: Iterable[Path] = ()) -> None:
    """Write a whole file, as `replacing` does."""
    with replacing(path, inputs) as file:
        file.write(data)


def followed(path: Path, keep: bool) -> BinaryIO:
    """A file that others read while lines are added to it, or a pipe; emptied first unless `keep`. StorageError."""
    with _storing(path):
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | _BINARY, 0o666)
        if not keep and stat.S_ISREG(os.fstat(fd).st_mode):
            os.ftruncate(fd, 0)
        return os.fdopen(fd, "wb", buffering=0)


def repair_std_descriptors() -> None:
    """Put something harmless where stdin, stdout or stderr are closed.

    Otherwise the next file opened becomes descriptor 2, and messages of C libraries are written into it. Descriptor 1
    gets a file that cannot be written, so that output that would be lost is an error and not a success.
    """
    for fd, flags in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(fd)
        except OSError:
            null = os.open(os.devnull, flags)
            if null != fd:
                os.dup2(null, fd)
                os.close(null)
    # Python has None for a stream whose descriptor was closed; these live as long as the process.
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
