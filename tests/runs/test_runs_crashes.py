"""Saves that are killed, meet a failing disk or lose their power leave the old checkpoint or the new one."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from runs_faults import FaultyOs, every_call, faults

from fcnet import files
from fcnet.errors import CheckpointError, FcnetError, StorageError
from fcnet.runs import checkpoint, folder

Save = Callable[[Path, float], None]


def arrays(value: float) -> dict[str, np.ndarray]:
    return {"W1": np.full((3, 4), value, np.float32), "b1": np.full(3, value, np.float32)}


def whole(path: Path, value: float) -> None:
    with files.Folder(path.parent) as place:
        checkpoint.write(place, path.name, {"step": int(value)}, arrays(value))


def direct(path: Path, value: float) -> None:
    """The deliberately broken save: it opens the old file and overwrites it."""
    with files.Folder(path.parent) as place:
        fd = files.os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        text = files.json_text({"format": [1, 0], "created": "2025-01-01T00:00:00Z", "step": value}).encode()
        data = b""
        for chunk in checkpoint.npz.chunks({"header": np.frombuffer(text, np.uint8), **arrays(value)})[1]:
            files._write_all(fd, chunk)
            data += chunk
        files.os.fsync(fd)
        files.os.close(fd)
        place.sync()


def value_at(path: Path) -> float | None:
    """The value that the checkpoint holds; None when it is lost."""
    try:
        return float(checkpoint.read(path).arrays["b1"][0])
    except (FcnetError, KeyError):
        return None


def overwrite(runs: Path, value: int) -> None:
    """What a short `train --overwrite` does to its folder."""
    with folder.overwrite(runs, "x") as run:
        run.write("config.yaml", str(value).encode())
        run.save(folder.BEST, {}, arrays(value))
        run.save(folder.LAST, {}, arrays(value))


def outcomes(save: Save, path: Path, make: Callable[[int], FaultyOs], refused: Any) -> Iterator[float | None]:
    """What stands under the name after a save of 2 over a good 1, with the fault at each call in turn."""
    errors: list[Exception] = []

    def act(faulty: FaultyOs) -> None:
        errors.clear()
        with faults(faulty):
            try:
                save(path, 2)
            except refused as error:
                errors.append(error)

    shutil.rmtree(path.parent, ignore_errors=True)
    path.parent.mkdir()
    whole(path, 1)
    good = path.read_bytes()
    for faulty in every_call(act, make):
        found = value_at(path)
        yield found
        failed = faulty.error is not None and faulty.count >= faulty.at
        if save is whole and failed and not errors:
            assert found == 2, "a save that said nothing must have saved"
        for name in os.listdir(path.parent):
            if name != path.name:
                os.unlink(path.parent / name)
        path.write_bytes(good)


def test_s1_save_killed_at_any_call_leaves_old_or_new(tmp_path: Path) -> None:
    """A save that is killed at any of its calls leaves the old checkpoint or the new one, whole."""
    found = list(outcomes(whole, tmp_path / "run" / "last.npz", FaultyOs, StorageError))

    assert len(found) > 20
    assert set(found) == {1, 2}


def test_the_crash_harness_sees_a_save_in_place_fail(tmp_path: Path) -> None:
    """The harness of the killed saves finds that overwriting in place loses the checkpoint at most of its calls."""
    found = list(outcomes(direct, tmp_path / "run" / "last.npz", FaultyOs, StorageError))

    assert found.count(None) > len(found) / 2


@pytest.mark.parametrize("power", ["kept", "reverted"])
def test_s4_f6_power_cut_leaves_old_or_new(tmp_path: Path, power: str) -> None:
    """A power cut that loses everything not flushed to the disk leaves the old checkpoint or the new one."""
    found = list(outcomes(whole, tmp_path / "run" / "last.npz", lambda at: FaultyOs(at, power=power), StorageError))

    assert set(found) == {1, 2}


def test_the_power_harness_sees_a_save_without_fsync_fail(tmp_path: Path) -> None:
    """The harness of the power cuts finds that a save which never flushes loses the checkpoint."""
    make = lambda at: FaultyOs(at, power="kept", flushes=False)  # noqa: E731

    assert None in list(outcomes(whole, tmp_path / "run" / "last.npz", make, StorageError))


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "lasting"])
@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS], ids=errno.errorcode.get)
def test_f8_f1_f5_failing_disk_is_a_storage_error_and_loses_nothing(tmp_path: Path, error: int, lasting: bool) -> None:
    """A disk that fails at any call of a save is exit 6, with the old checkpoint or the new one in place."""
    make = lambda at: FaultyOs(at, error, lasting)  # noqa: E731
    found = list(outcomes(whole, tmp_path / "run" / "last.npz", make, StorageError))

    assert len(found) > 20
    assert set(found) == {1, 2}


def test_the_error_harness_sees_a_save_in_place_fail(tmp_path: Path) -> None:
    """The harness of the failing disk finds that overwriting in place loses the checkpoint."""
    make = lambda at: FaultyOs(at, errno.EIO)  # noqa: E731

    assert None in list(outcomes(direct, tmp_path / "run" / "last.npz", make, (OSError, StorageError)))


def test_failed_save_leaves_no_temporary_file(tmp_path: Path) -> None:
    """After a save that failed, the folder holds what it held before and nothing else."""
    path = tmp_path / "last.npz"
    whole(path, 1)

    def act(faulty: FaultyOs) -> None:
        with faults(faulty), contextlib.suppress(StorageError):
            whole(path, 2)
        assert os.listdir(tmp_path) == ["last.npz"]

    assert len(list(every_call(act, lambda at: FaultyOs(at, errno.EIO)))) > 20


def test_f5_fsync_is_never_tried_again(tmp_path: Path) -> None:
    """An fsync that failed fails the save: what it did not flush it may have thrown away."""
    calls: list[str] = []

    class Watching(FaultyOs):
        def _call(self, name, function, *args, **kwargs):
            calls.append(name)
            if name == "fsync":
                raise OSError(errno.EIO, "no")
            return super()._call(name, function, *args, **kwargs)

    with faults(Watching(10**9)), pytest.raises(StorageError):
        whole(tmp_path / "last.npz", 2)

    assert calls.count("fsync") == 1
    assert "replace" not in calls


def test_what_the_disk_changes_is_noticed_before_the_old_file_goes(tmp_path: Path) -> None:
    """A disk that stores something else than was written is noticed while the old checkpoint still stands."""
    path = tmp_path / "last.npz"
    whole(path, 1)

    class Lying(FaultyOs):
        def _call(self, name, function, *args, **kwargs):
            result = super()._call(name, function, *args, **kwargs)
            return bytes([result[0] ^ 1]) + result[1:] if name == "read" and result else result

    with faults(Lying(10**9)), pytest.raises(StorageError, match="read back"):
        whole(path, 2)

    assert value_at(path) == 1
    assert os.listdir(tmp_path) == ["last.npz"]


@pytest.mark.parametrize("exchange", [True, False], ids=["exchange", "two-renames"])
def test_overwriting_run_killed_at_any_call_leaves_a_whole_run(
    tmp_path: Path, exchange: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`train --overwrite` killed at any call leaves the old run or the new one, the next start clears up after it.

    Where folders cannot be exchanged in one step, the old run may have to wait for that start to get its name back.
    """
    if not exchange:
        monkeypatch.setattr(files, "_exchange", lambda a, b: False)
    runs = tmp_path / "runs"

    def act(faulty: FaultyOs) -> None:
        with faults(faulty):
            overwrite(runs, 2)

    seen = set()
    with faults(FaultyOs(10**9)):
        overwrite(runs, 1)
    for _ in every_call(act, FaultyOs):
        if not exchange:
            folder.newest_of(runs, "x")
        best, last = value_at(runs / "x" / folder.BEST), value_at(runs / "x" / folder.LAST)
        assert best == last
        assert (runs / "x" / "config.yaml").read_text() == str(int(best or 0))
        seen.add(best)
        with faults(FaultyOs(10**9)):
            overwrite(runs, 1)
        assert os.listdir(runs) == ["x"]
        assert not [name for name in os.listdir(runs / "x") if name.startswith(".")]

    assert seen == {1, 2}


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "lasting"])
@pytest.mark.parametrize("exchange", [True, False], ids=["exchange", "two-renames"])
def test_f5_overwriting_run_on_a_failing_disk_leaves_a_whole_run(
    tmp_path: Path, exchange: bool, lasting: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`train --overwrite` that meets an I/O error at any call is exit 6 or done, with the old run or the new one there.

    Where folders cannot be exchanged in one step and the disk goes on failing, the old run waits for the next start.
    """
    if not exchange:
        monkeypatch.setattr(files, "_exchange", lambda a, b: False)
    runs, failed = tmp_path / "runs", []

    def act(faulty: FaultyOs) -> None:
        failed.clear()
        with faults(faulty):
            try:
                overwrite(runs, 2)
            except StorageError as error:
                failed.append(error)

    seen = set()
    with faults(FaultyOs(10**9)):
        overwrite(runs, 1)
    for _ in every_call(act, lambda at: FaultyOs(at, errno.EIO, lasting)):
        if lasting and not exchange:
            folder.newest_of(runs, "x")
        best, last = value_at(runs / "x" / folder.BEST), value_at(runs / "x" / folder.LAST)
        assert best == last
        assert best == 2 or (best == 1 and failed)
        seen.add(best)
        with faults(FaultyOs(10**9)):
            overwrite(runs, 1)
        assert os.listdir(runs) == ["x"]

    assert seen == {1, 2}


def _strace_works() -> bool:
    strace = shutil.which("strace")
    if not strace:
        return False
    trial = subprocess.run([strace, "-f", "-o", os.devnull, "true"], check=False, capture_output=True)
    return trial.returncode == 0


class Zygote:
    """The process of runs_zygote.py, and strace on the savers that it forks."""

    def __init__(self, way: str, path: Path) -> None:
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
        script = Path(__file__).with_name("runs_zygote.py")
        self.process = subprocess.Popen(
            [sys.executable, script, way, path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def ask(self, word: str) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def save(self, inject: str) -> int:
        """The saver's wait status, with strace doing `inject` to it."""
        pid = self.ask("fork")
        command = [
            "strace",
            "-p",
            str(pid),
            "-o",
            os.devnull,
            "-e",
            f"trace={inject.partition(':')[0]}",
            "-e",
            f"inject={inject}",
        ]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
            assert strace.stderr is not None
            assert "attached" in strace.stderr.readline()
            status = self.ask("go")
            strace.stderr.read()
        return status

    def close(self) -> None:
        self.process.communicate()


def _killed_by_strace(way: str, path: Path) -> tuple[int, int]:
    """How many saves were killed, each at another system call, and how many of them lost the checkpoint."""
    killed = lost = 0
    path.parent.mkdir()
    zygote = Zygote(way, path)
    try:
        zygote.ask("fork")
        zygote.ask("go")
        good = path.read_bytes()
        for call in ("write", "fsync", "renameat", "unlinkat", "openat", "lseek", "ftruncate", "close"):
            for when in range(1, 200):
                status = zygote.save(f"{call}:signal=KILL:when={when}")
                if not status:
                    break
                assert os.WTERMSIG(status) == 9
                killed += 1
                lost += not _loads(way, path)
                for name in os.listdir(path.parent):
                    (path.parent / name).unlink()
                path.write_bytes(good)
    finally:
        zygote.close()
    return killed, lost


def _loads(way: str, path: Path) -> bool:
    try:
        if way == "whole":
            return checkpoint.read(path).header["step"] in (1, 2)
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
            return len({float(stored[name].flat[0]) for name in ("W1", "b1")}) == 1
    except (CheckpointError, OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
        return False


def _killed_in_the_module(way: str, path: Path) -> tuple[int, int]:
    """The same at the calls of `fcnet.files`, for machines without strace."""
    save = whole if way == "whole" else direct
    found = list(outcomes(save, path, FaultyOs, StorageError))
    return len(found) - 1, found.count(None)


KILLERS = [_killed_by_strace if _strace_works() else _killed_in_the_module]


@pytest.mark.parametrize("killer", KILLERS)
def test_save_killed_by_the_system_leaves_old_or_new(tmp_path: Path, killer: Any) -> None:
    """A process killed at any system call of a save leaves the old checkpoint or the new one."""
    killed, lost = killer("whole", tmp_path / "run" / "last.npz")

    assert killed > 20
    assert lost == 0


@pytest.mark.parametrize("killer", KILLERS)
def test_the_system_harness_sees_a_save_in_place_fail(tmp_path: Path, killer: Any) -> None:
    """Killed at its system calls, a save in place loses more than half of the checkpoints."""
    killed, lost = killer("direct", tmp_path / "run" / "last.npz")

    assert lost > killed / 2
