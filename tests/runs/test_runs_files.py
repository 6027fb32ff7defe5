"""Files are written whole, to the folder that was opened, with the mode that the user asked for, or not at all."""

from __future__ import annotations

import errno
import io
import json
import os
import resource
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from runs_faults import FaultyOs, faults

from fcnet import files
from fcnet.errors import InUseError, StorageError, UsageError
from fcnet.files import Folder

HOLD = """
import sys
from pathlib import Path
from fcnet.files import Folder
folder = Folder(Path(sys.argv[1]))
folder.lock()
print("locked", flush=True)
sys.stdin.read()
"""


def holder(path: Path) -> subprocess.Popen[str]:
    """A process that holds the lock of `path` until its stdin is closed or it is killed."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    return process


def python(script: str, *arguments: object, shell: str = "") -> subprocess.CompletedProcess[bytes]:
    """Run a Python script, with the redirections `shell` if given."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = ["sh", "-c", f'exec "$@" {shell}', "sh", sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, check=False, env=environment)


@pytest.mark.parametrize("mask", [0o077, 0o022, 0o002, 0o000], ids=oct)
def test_f28_mode_is_what_the_umask_leaves_of_0666(tmp_path: Path, mask: int) -> None:
    """Files have the mode 0666 less the umask, and no temporary file is ever more open than that."""
    seen = []

    class Watching(FaultyOs):
        def _call(self, name, function, *args, **kwargs):
            result = super()._call(name, function, *args, **kwargs)
            if name == "write":
                seen.append(stat.S_IMODE(os.fstat(args[0]).st_mode))
            return result

    old = os.umask(mask)
    try:
        with faults(Watching(10**9)), Folder(tmp_path) as folder:
            folder.write("a", [b"x"])
    finally:
        os.umask(old)

    assert [*seen, stat.S_IMODE((tmp_path / "a").stat().st_mode)] == [0o666 & ~mask] * 2


def test_seal_is_the_hash_of_all_that_came_before(tmp_path: Path) -> None:
    """A sealed file ends with the SHA-256 of the bytes before its last 64."""
    import hashlib

    with Folder(tmp_path) as folder:
        folder.write("a", [b"some ", b"bytes"], seal=True)

    data = (tmp_path / "a").read_bytes()
    assert data == b"some bytes" + hashlib.sha256(b"some bytes").hexdigest().encode()


def test_x2_p7_link_planted_under_a_temporary_name_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even a temporary name that someone guessed and made a link leads nowhere: its target is not touched."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    monkeypatch.setattr(files.secrets, "token_hex", lambda n: "0" * 2 * n)
    (tmp_path / f".fcnet-{'0' * 32}.tmp").symlink_to(victim)

    with Folder(tmp_path) as folder, pytest.raises(StorageError):
        folder.write("a", [b"x"])

    assert victim.read_text() == "precious"
    assert not (tmp_path / "a").exists()


def test_link_under_the_final_name_is_replaced_and_not_followed(tmp_path: Path) -> None:
    """A link in a run folder that stands where a file is saved is replaced; what it led to stays."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "last.npz").symlink_to(victim)

    with Folder(tmp_path) as folder:
        folder.write("last.npz", [b"x"])

    assert victim.read_text() == "precious"
    assert (tmp_path / "last.npz").read_bytes() == b"x"


@pytest.mark.parametrize("what", ["deleted", "renamed", "linked", "replaced"])
def test_f12_folder_that_is_no_longer_there_is_a_storage_error_at_the_next_save(tmp_path: Path, what: str) -> None:
    """A folder deleted, moved or replaced while in use is exit 6 at the next save, and nothing is written elsewhere."""
    path, other = tmp_path / "run", tmp_path / "other"
    path.mkdir()
    other.mkdir()
    with Folder(path) as folder:
        folder.write("a", [b"1"])
        (path / "a").unlink()
        path.rmdir() if what == "deleted" else path.rename(tmp_path / "moved")
        if what == "linked":
            path.symlink_to(other)
        if what == "replaced":
            path.mkdir()

        with pytest.raises(StorageError, match="moved, deleted or replaced"):
            folder.write("a", [b"2"])

    assert not list(other.iterdir())
    assert not list(tmp_path.rglob("a"))


def test_change_of_the_working_directory_does_not_move_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder opened by a relative path stays the same folder when the working directory changes."""
    (tmp_path / "run").mkdir()
    monkeypatch.chdir(tmp_path)
    with Folder(Path("run")) as folder:
        monkeypatch.chdir("/")
        folder.write("a", [b"1"])

    assert (tmp_path / "run" / "a").read_bytes() == b"1"


def test_append_adds_all_or_nothing(tmp_path: Path) -> None:
    """Data that cannot be appended in full are not appended in part."""
    (tmp_path / "log").write_bytes(b"one\n")

    class HalfFull(FaultyOs):
        def _call(self, name, function, *args, **kwargs):
            if name == "write":
                self.count += 1
                if self.count > 4:
                    raise OSError(errno.ENOSPC, "full")
                return os.write(args[0], bytes(args[1])[:2])
            return super()._call(name, function, *args, **kwargs)

    with faults(HalfFull(10**9)), Folder(tmp_path) as folder, pytest.raises(StorageError, match="full"):
        folder.append("log", b"two\n")

    assert (tmp_path / "log").read_bytes() == b"one\n"


def test_append_does_not_make_a_file(tmp_path: Path) -> None:
    """A log that someone deleted is an error at the next line, and not a log without its beginning."""
    with Folder(tmp_path) as folder, pytest.raises(StorageError):
        folder.append("log", b"two\n")


def test_truncate_keeps_the_beginning(tmp_path: Path) -> None:
    """Truncating keeps the first bytes."""
    (tmp_path / "log").write_bytes(b"one\ntwo\n")
    with Folder(tmp_path) as folder:
        folder.truncate("log", 4)

    assert (tmp_path / "log").read_bytes() == b"one\n"


def test_sweep_removes_our_temporary_files_only(tmp_path: Path) -> None:
    """What killed saves left is removed; a file of the user's, however named, is not."""
    for name in (f".fcnet-{'ab' * 16}.tmp", ".fcnet-notes.tmp", "a.tmp", "last.npz"):
        (tmp_path / name).touch()
    with Folder(tmp_path) as folder:
        folder.sweep()

    assert sorted(os.listdir(tmp_path)) == [".fcnet-notes.tmp", "a.tmp", "last.npz"]


def test_lock_names_its_holder(tmp_path: Path) -> None:
    """A folder that another process works on is exit 7, with that process, its machine and its start."""
    process = holder(tmp_path)
    try:
        with Folder(tmp_path) as folder, pytest.raises(InUseError) as caught:
            folder.lock()
    finally:
        process.communicate()

    text = str(caught.value)
    assert f"process {process.pid} on {socket.gethostname()} since 20" in text
    assert "UTC" in text


@pytest.mark.parametrize("text", [b"", b"[" * 4000, b'{"pid": 1e400, "host": "a", "started": "b"}', b"\xff"])
def test_lock_that_does_not_say_whose_it_is(tmp_path: Path, text: bytes) -> None:
    """Whatever stands in the lock file, the folder is in use."""
    with Folder(tmp_path) as folder, Folder(tmp_path) as second:
        folder.lock()
        (tmp_path / files.LOCK).write_bytes(text)

        with pytest.raises(InUseError, match="in use by another process"):
            second.lock()


def test_p2_lock_of_a_killed_process_is_free_at_once(tmp_path: Path) -> None:
    """A lock vanishes with its process, however that ended; nobody has to delete a file."""
    process = holder(tmp_path)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert (tmp_path / files.LOCK).exists()

    with Folder(tmp_path) as folder:
        assert folder.lock()


def test_lock_leaves_no_file_behind(tmp_path: Path) -> None:
    """A folder that was given free holds no lock file."""
    with Folder(tmp_path) as folder:
        folder.lock()

    assert not os.listdir(tmp_path)


def test_p4_lock_survives_the_closing_of_other_descriptors(tmp_path: Path) -> None:
    """Opening and closing the lock file in the same process does not lose the lock."""
    with Folder(tmp_path) as folder, Folder(tmp_path) as second:
        folder.lock()
        (tmp_path / files.LOCK).read_bytes()
        with pytest.raises(InUseError):
            second.lock()


def test_p5_lock_is_not_inherited(tmp_path: Path) -> None:
    """A process that the holder started does not keep the lock."""
    with Folder(tmp_path) as folder:
        folder.lock()
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False)
    try:
        with Folder(tmp_path) as folder:
            assert folder.lock()
    finally:
        child.communicate(b"\n")


@pytest.mark.parametrize("harm", ["file removed", "file replaced", "folder moved", "folder under another name"])
def test_lock_belongs_to_the_folder(tmp_path: Path, harm: str) -> None:
    """Whatever happens to names, of the lock file or of the folder, a second process does not get the folder."""
    path = tmp_path / "run"
    path.mkdir()
    process = holder(path)
    try:
        if harm.startswith("file"):
            (path / files.LOCK).unlink()
        if harm == "file replaced":
            (path / files.LOCK).write_text("{}")
        if harm == "folder moved":
            path = path.rename(tmp_path / "elsewhere")
        if harm == "folder under another name":
            (tmp_path / "link").symlink_to(path)
            path = tmp_path / "link"

        with Folder(path) as folder, pytest.raises(InUseError, match=r"in use by (another )?process"):
            folder.lock()
    finally:
        process.communicate()
    with Folder(path) as folder:
        assert folder.lock()


def refusing_folders(fd: int, how: int, real: Callable[[int, int], None] = files.fcntl.flock) -> None:
    """`flock` as on a file system whose folders cannot be locked."""
    if stat.S_ISDIR(os.fstat(fd).st_mode):
        raise OSError(errno.EBADF, "no locks of folders")
    real(fd, how)


def test_lock_of_a_file_serves_where_folders_have_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where only files can be locked, the lock file keeps a second process out, and says whose it is."""
    monkeypatch.setattr(files.fcntl, "flock", refusing_folders)
    with Folder(tmp_path) as folder, Folder(tmp_path) as other:
        assert folder.lock()
        with pytest.raises(InUseError, match=f"process {os.getpid()} on"):
            other.lock()


def test_lock_removed_by_its_holder_is_not_mistaken_for_a_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that has opened the lock file just before its holder removed it locks the new one instead."""
    seen = []

    def late(fd: int, how: int) -> None:
        if not seen and stat.S_ISREG(os.fstat(fd).st_mode):
            (tmp_path / files.LOCK).unlink()
            seen.append(fd)
        refusing_folders(fd, how)

    monkeypatch.setattr(files.fcntl, "flock", late)
    with Folder(tmp_path) as folder, Folder(tmp_path) as other:
        folder.lock()
        with pytest.raises(InUseError):
            other.lock()

    assert len(seen) == 1


def test_a_lock_that_failed_leaves_nothing_locked(tmp_path: Path) -> None:
    """Where the folder can be locked and its file cannot be made, the folder is free again."""
    (tmp_path / files.LOCK).symlink_to("nowhere")
    with Folder(tmp_path) as folder, Folder(tmp_path) as other:
        with pytest.raises(StorageError):
            folder.lock()
        (tmp_path / files.LOCK).unlink()

        assert other.lock()


def test_f30_file_system_without_locks_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the file system knows no locks the folder can be used, and the answer says that it is not locked."""

    def refuse(fd: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(files.fcntl, "flock", refuse)
    with Folder(tmp_path) as folder:
        assert not folder.lock()


def test_stream_appears_when_it_is_complete(tmp_path: Path) -> None:
    """An output file is not there before its last byte, and then all of it is."""
    path = tmp_path / "out.csv"
    with files.replacing(path) as file:
        file.write(b"a\n" * 1000)
        file.flush()
        assert not path.exists()

    assert path.read_bytes() == b"a\n" * 1000
    assert os.listdir(tmp_path) == ["out.csv"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, SystemExit])
def test_stream_that_was_interrupted_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    """An output that was interrupted or failed leaves the old file as it was, and nothing else."""
    path = tmp_path / "out.csv"
    path.write_text("old")

    def write() -> None:
        with files.replacing(path) as file:
            file.write(b"new")
            raise error

    with pytest.raises(error):
        write()

    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["out.csv"]


def test_stream_can_be_closed_by_a_text_layer(tmp_path: Path) -> None:
    """A text layer over the output may close it; the file still appears, whole."""
    with files.replacing(tmp_path / "out.csv") as file, io.TextIOWrapper(file, encoding="utf-8") as text:
        text.write("é")

    assert (tmp_path / "out.csv").read_text(encoding="utf-8") == "é"


def test_f10_stream_makes_missing_folders(tmp_path: Path) -> None:
    """An output in a folder that does not exist yet makes that folder."""
    files.write_file(tmp_path / "a" / "b" / "out.csv", b"x")

    assert (tmp_path / "a" / "b" / "out.csv").read_bytes() == b"x"


def test_output_through_a_link_replaces_what_the_link_leads_to(tmp_path: Path) -> None:
    """An output named by a link is written where the link leads, and the link stays."""
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "out.csv").write_text("old")
    (tmp_path / "link.csv").symlink_to(tmp_path / "real" / "out.csv")
    files.write_file(tmp_path / "link.csv", b"new")

    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "real" / "out.csv").read_text() == "new"


@pytest.mark.parametrize("kind", ["folder", "pipe", "device", "socket"])
def test_output_that_is_no_plain_file_is_refused(tmp_path: Path, kind: str) -> None:
    """An output that is a folder, pipe, device or socket is a wrong usage, exit 2, and is not replaced."""
    path = tmp_path / "out"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/null")
    else:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))

    with pytest.raises(UsageError, match=kind), files.replacing(path):
        raise AssertionError("not reached")


def test_output_that_is_an_input_is_refused(tmp_path: Path) -> None:
    """An output that is one of the inputs, under whatever name, is a wrong usage and the input stays."""
    path = tmp_path / "data.csv"
    path.write_text("a\n1\n")
    (tmp_path / "same.csv").hardlink_to(path)

    with pytest.raises(UsageError, match="input"):
        files.check_output(tmp_path / "same.csv", [path])
    assert path.read_text() == "a\n1\n"


def test_output_that_stands_is_replaced_with_a_notice(tmp_path: Path) -> None:
    """That an output replaces a file is said; that it makes a new one need not be."""
    (tmp_path / "old.csv").touch()

    assert files.check_output(tmp_path / "new.csv") == []
    assert files.check_output(tmp_path / "old.csv") == [f"{tmp_path / 'old.csv'} is replaced"]


def test_f10_parent_that_is_a_file_is_a_storage_error(tmp_path: Path) -> None:
    """An output below something that is no folder is exit 6."""
    (tmp_path / "file").touch()

    with pytest.raises(StorageError):
        files.write_file(tmp_path / "file" / "out.csv", b"x")


def test_f11_impossible_name_is_a_storage_error(tmp_path: Path) -> None:
    """A name that the file system does not take is exit 6."""
    with pytest.raises(StorageError, match="too long"):
        files.write_file(tmp_path / ("x" * 300), b"x")


@pytest.mark.parametrize("name", ["a\nb\x1b]0;x\x07.csv", os.fsdecode(b"caf\xe9.csv")], ids=["control", "not-utf8"])
def test_f11_x8_strange_names_work_and_are_escaped(tmp_path: Path, name: str) -> None:
    """A name with control characters, or that is no UTF-8, works; in messages it is escaped."""
    files.write_file(tmp_path / name, b"x")

    assert (tmp_path / name).read_bytes() == b"x"
    text = str(StorageError("failed", file=name))
    assert text.isprintable()
    text.encode("utf-8")


def test_f4_limit_on_file_sizes_is_a_storage_error(tmp_path: Path) -> None:
    """A file above the limit that ulimit -f sets is exit 6, says how many bytes it needs, and leaves the old one."""
    path = tmp_path / "a"
    path.write_bytes(b"old")
    script = (
        "import sys; from pathlib import Path; from fcnet.files import Folder\n"
        "try: Folder(Path(sys.argv[1])).write('a', [b'x' * 5000], needed=5000)\n"
        "except Exception as error: print(error.exit_code, error)"
    )
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, old[1]))
    try:
        done = python(script, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)

    assert done.stdout.startswith(b"6 ")
    assert b"ulimit -f" in done.stdout
    assert b"5,000 bytes" in done.stdout
    assert os.listdir(tmp_path) == ["a"]
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO, errno.EFBIG])
def test_reasons_are_words(tmp_path: Path, code: int) -> None:
    """The message of a storage error is a sentence with the path; a refused permission shows the mode."""
    text = str(files.storage_error(tmp_path / "a", OSError(code, os.strerror(code)), 1000))

    assert text.startswith(f"{tmp_path / 'a'}: ")
    assert "Errno" not in text
    assert ("drwx" in text) == (code == errno.EACCES)
    assert ("1,000 bytes" in text) == (code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG))


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_missing_standard_streams_are_repaired(tmp_path: Path, closed: str) -> None:
    """With standard streams closed, no file of ours takes their place, and output that would be lost is an error."""
    script = (
        "import sys, os; from fcnet import files; files.repair_std_descriptors()\n"
        "fd = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY); assert fd > 2, fd\n"
        "sys.stdin.read(); sys.stderr.write('noise'); sys.stderr.flush()\n"
        "try: sys.stdout.write('result'); sys.stdout.flush(); word = b'written'\n"
        "except OSError: word = b'refused'\n"
        "os.write(fd, word); os._exit(0)"
    )
    done = python(script, tmp_path / "a", shell=("" if "<" in closed else "</dev/null ") + closed)

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a").read_bytes() == (b"refused" if ">&-" in closed.replace("2>&-", "") else b"written")


def test_free_space_of_a_folder_that_is_not_made_yet(tmp_path: Path) -> None:
    """The free space of a folder to be is that of the file system where it will be."""
    assert files.disk_free(tmp_path / "a" / "b") > 0


@pytest.mark.parametrize("kind", ["folder", "pipe", "device"])
def test_only_plain_files_are_opened_for_reading(tmp_path: Path, kind: str) -> None:
    """A folder, a pipe without a writer or a device is refused at once."""
    path = tmp_path / "x"
    {"folder": path.mkdir, "pipe": lambda: os.mkfifo(path), "device": lambda: path.symlink_to("/dev/zero")}[kind]()

    with pytest.raises(OSError, match="not a regular file"):
        files.open_plain(path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@settings(max_examples=60, deadline=None)
@given(JSON)
def test_json_is_strict_and_reads_back_equal(value: object) -> None:
    """JSON is strict and in UTF-8: numbers and texts read back equal, what is not finite is null."""

    def expected(item: object) -> object:
        if isinstance(item, float):
            return item if np.isfinite(item) else None
        if isinstance(item, list):
            return [expected(part) for part in item]
        return {key: expected(part) for key, part in item.items()} if isinstance(item, dict) else item

    def refuse(text: str) -> float:
        raise AssertionError(text)

    text = files.json_text(value).encode("utf-8")

    assert json.loads(text, parse_constant=refuse) == expected(value)


def test_json_takes_numpy_and_names_that_are_no_text() -> None:
    """NumPy's numbers and arrays become JSON numbers and lists; a file name that is no UTF-8 becomes readable."""
    value = {"a": np.float32(0.5), "b": np.arange(3), "c": np.float64("nan"), "d": os.fsdecode(b"caf\xe9")}

    assert json.loads(files.json_text(value).encode()) == {"a": 0.5, "b": [0, 1, 2], "c": None, "d": "caf?"}


def test_p1_twenty_locks_at_once_give_one(tmp_path: Path) -> None:
    """Of twenty processes that want one folder at the same moment, one gets it."""
    script = (
        "import sys, os, time; from pathlib import Path; from fcnet.files import Folder\n"
        "from fcnet.errors import InUseError\n"
        "start = float(sys.argv[2]); found, say = os.pipe(); until, end = os.pipe()\n"
        "for _ in range(20):\n"
        "    if not os.fork():\n"
        "        os.close(end)\n"
        "        mine = Folder(Path(sys.argv[1])); time.sleep(max(0, start - time.time()))\n"
        "        try: mine.lock(); os.write(say, b'0')\n"
        "        except InUseError: os.write(say, b'7')\n"
        "        os.read(until, 1); os._exit(0)\n"  # nobody lets go before all have tried
        "print([int(os.read(found, 1)) for _ in range(20)])"
    )
    done = python(script, tmp_path, time.time() + 0.5)

    assert sorted(json.loads(done.stdout)) == [0] + [7] * 19
