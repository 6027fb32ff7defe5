"""Run folders: every start gets one of its own, the newest is found by what is recorded, and nothing old is lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from fcnet import files
from fcnet.errors import CheckpointError, ConfigError, InUseError, StorageError
from fcnet.runs import checkpoint, folder


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path("runs")


def train(run: folder.RunFolder, value: int = 1, complete: bool = True) -> Path:
    """Write what a short training writes."""
    with run:
        for name in (folder.BEST, folder.LAST):
            run.save(name, {"value": value}, {"W1": np.full((2, 2), value, np.float32)})
        if complete:
            run.write_json(folder.SUMMARY, {"best_epoch": 1, "loss": float("nan")})
    return run.path


def value(path: Path) -> int:
    return int(checkpoint.read(path / folder.BEST).header["value"])


def test_names_that_are_taken_get_a_number(runs: Path) -> None:
    """A run takes its name, or the next free one of NAME-2, NAME-3 …, and tells its time from its first moment."""
    runs.mkdir()
    (runs / "x-2").write_text("a file of the user's")
    paths = [train(folder.claim(runs, "x")) for _ in range(3)]

    assert [str(path) for path in paths] == ["runs/x", "runs/x-3", "runs/x-4"]
    assert (runs / "x-2").read_text() == "a file of the user's"
    assert sorted(os.listdir(runs / "x")) == ["best.npz", "environment.json", "last.npz", "log.txt", "metrics.json"]
    assert "started" in json.loads((runs / "x" / "environment.json").read_text())


def test_p8_f27_twenty_starts_at_once_get_twenty_folders(runs: Path) -> None:
    """Twenty processes that start the same run at the same moment, in a folder that is not there yet, get one each."""
    script = (
        "import os, sys, time; from pathlib import Path; from fcnet.runs import folder\n"
        "start = time.time() + 0.5; children = []\n"
        "for _ in range(20):\n"
        "    pid = os.fork()\n"
        "    if not pid:\n"
        "        time.sleep(max(0, start - time.time()))\n"
        "        run = folder.claim(Path('new/runs'), 'x'); run.write('config.yaml', b'x'); os._exit(0)\n"
        "    children.append(pid)\n"
        "print(sum(os.waitpid(pid, 0)[1] for pid in children))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, env=environment)

    assert done.stdout == b"0\n"
    assert sorted(os.listdir("new/runs")) == sorted(["x", *(f"x-{n}" for n in range(2, 21))])
    assert all((Path("new/runs") / name / "config.yaml").exists() for name in os.listdir("new/runs"))


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        ".hidden",
        "a/b",
        "../x",
        "a\\b",
        "a\0b",
        "a\nb",
        "a\x1b]0;x\x07",
        "a\u202eb",
        " a",
        "a ",
        "x" * 201,
    ]
    + ["a:b", "a*", "é" * 101, "con", "NUL.txt", "lpt1", "a."],
)
def test_x6_names_that_cannot_be_folders_are_config_errors(runs: Path, name: str) -> None:
    """A name that leads elsewhere, holds control characters, or that some system does not take is exit 3."""
    for start in (folder.claim, folder.overwrite):
        with pytest.raises(ConfigError, match=r"^name: ") as caught:
            start(runs, name)
        assert str(caught.value).isprintable()
    assert not runs.exists()


@pytest.mark.parametrize("name", ["x" * 200, "größe", "iris 2", "a.b", "console", "x-1", "数字"])
def test_ordinary_names_are_folders(runs: Path, name: str) -> None:
    """Letters of any script, blanks inside and dots are allowed, up to 200 bytes, and can be used again."""
    train(folder.claim(runs, name))
    train(folder.claim(runs, name))
    train(folder.overwrite(runs, name))

    assert sorted(os.listdir(runs)) == [name, f"{name}-2"]


def test_output_that_is_a_file_is_a_storage_error(runs: Path) -> None:
    """An output folder whose name is a file's is exit 6."""
    runs.write_text("a file")

    with pytest.raises(StorageError):
        folder.claim(runs, "x")


def test_f2_start_on_a_full_disk_leaves_no_folder(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that cannot write its first file is exit 6 at once, and leaves no empty folder."""

    def full(self: files.Folder, name: str, *_: object, **__: object) -> str:
        raise files.storage_error(self.path / name, OSError(28, "full"))

    monkeypatch.setattr(files.Folder, "write", full)
    with pytest.raises(StorageError, match="full"):
        folder.claim(runs, "x")

    assert os.listdir(runs) == []


def test_newest_is_by_the_time_recorded_inside(runs: Path) -> None:
    """The newest complete run is the one that was trained last, whatever the names and dates of the files say."""
    for number, name in enumerate(["b", "c", "a"]):
        path = train(folder.claim(runs, name), number)
        old = datetime(2000, 1, 20 - number, tzinfo=UTC).timestamp()
        for file in [*path.iterdir(), path]:
            os.utime(file, (old, old))
    train(folder.claim(runs, "z"), complete=False)
    (runs / "b").rename(runs / "zz")

    assert [path.name for path in folder.complete(runs)] == ["a", "c", "zz"]
    assert folder.resolve(None) == runs / "a" / "best.npz"


def test_f26_clock_that_jumps_back_changes_no_order(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run started after the clock was set back to 1970 is still the newest, and its checkpoints keep their order."""

    class Clock(datetime):
        moment = datetime(2030, 1, 1, tzinfo=UTC)

        @classmethod
        def now(cls, tz: object = None) -> datetime:
            return cls.moment

    monkeypatch.setattr(folder, "datetime", Clock)
    train(folder.claim(runs, "a"), 1)
    Clock.moment = datetime(1970, 1, 1, tzinfo=UTC)
    with folder.claim(runs, "b") as run:
        first = run.now()
        Clock.moment -= timedelta(days=1)
        assert run.now() > first
    train(folder.reopen(runs / "b"), 2)

    assert [path.name for path in folder.complete(runs)] == ["b", "a"]


def test_damaged_newest_run_is_not_passed_over(runs: Path) -> None:
    """When the newest run's best.npz is damaged, it stays the one that is meant, and nothing older is taken."""
    train(folder.claim(runs, "a"))
    newest = train(folder.claim(runs, "b"))
    data = (newest / "best.npz").read_bytes()
    (newest / "best.npz").write_bytes(data[: len(data) // 2])

    assert folder.resolve(None) == newest / "best.npz"


def test_resolve_takes_files_folders_and_nothing(runs: Path) -> None:
    """A checkpoint argument is a file, a run folder for its best.npz, or nothing for the newest complete run."""
    path = train(folder.claim(runs, "x"))
    (runs / "empty").mkdir()
    (runs / "half").mkdir()
    (path / "last.npz").rename(runs / "half" / "last.npz")

    assert folder.resolve(path) == path / "best.npz"
    assert folder.resolve(path / "best.npz") == path / "best.npz"
    assert folder.resolve(Path("missing.npz")) == Path("missing.npz")
    with pytest.raises(CheckpointError, match=r"holds no best\.npz$"):
        folder.resolve(runs / "empty")
    with pytest.raises(CheckpointError, match=r"last\.npz is there"):
        folder.resolve(runs / "half")


def test_a_best_checkpoint_that_is_too_large_to_read_keeps_nobody_from_other_runs(runs: Path) -> None:
    """A file of more bytes than there is memory counts as one that cannot be read."""
    path = train(folder.claim(runs, "x"))
    (runs / "large").mkdir()
    with (runs / "large" / "best.npz").open("wb") as file:
        file.truncate(2**43)
        file.seek(0, os.SEEK_END)
        file.write(b"0" * 64)
    (runs / "large" / "metrics.json").write_text("{}")

    assert folder.complete(runs) == [path]


@pytest.mark.parametrize("made", [False, True])
def test_no_complete_run_is_a_checkpoint_error(runs: Path, made: bool) -> None:
    """Without a complete run a command that needs one is exit 5 and says what to do."""
    if made:
        train(folder.claim(runs, "x"), complete=False)

    with pytest.raises(CheckpointError, match="fcnet train"):
        folder.resolve(None)


def test_newest_of_a_name_for_resume(runs: Path) -> None:
    """To resume a name is to resume the newest of NAME, NAME-2 …, complete or not, and no other."""
    assert folder.newest_of(runs, "x") is None
    train(folder.claim(runs, "x"))
    train(folder.claim(runs, "x"), complete=False)
    for other in ("x-y", "xx", "x-1", "y", "x-02"):
        train(folder.claim(runs, other))

    assert folder.newest_of(runs, "x") == runs / "x-2"
    folder.claim(runs, "x").close()
    assert folder.newest_of(runs, "x") == runs / "x-3"


def test_a_run_that_is_called_like_another_with_a_number_is_not_taken_for_it(runs: Path) -> None:
    """The second run of NAME and the first of a config that is called NAME-2 are told apart by what they say."""
    for name in ("x-2", "x", "x", "x-2"):
        with folder.claim(runs, name) as run:
            run.save(folder.LAST, {"name": name}, {})
    folder.claim(runs, "y-2").close()

    assert folder.newest_of(runs, "x") == runs / "x-3"
    assert folder.newest_of(runs, "x-2") == runs / "x-2-2"
    assert folder.newest_of(runs, "y") is None, "even before it has a checkpoint"


def test_p1_run_in_progress_is_in_use(runs: Path) -> None:
    """A run in progress cannot be resumed or overwritten, and is named; a new start gets its own name."""
    with folder.claim(runs, "x") as run:
        for act in (lambda: folder.reopen(run.path), lambda: folder.overwrite(runs, "x")):
            with pytest.raises(InUseError, match=f"process {os.getpid()} on"):
                act()
        with folder.claim(runs, "x") as other:
            assert other.path == runs / "x-2"
    folder.reopen(runs / "x").close()


def test_k20_reopening_removes_what_killed_saves_left(runs: Path) -> None:
    """Going on with a run removes the temporary files of saves that were killed, and nothing else."""
    path = train(folder.claim(runs, "x"))
    (path / f".fcnet-{'0' * 32}.tmp").touch()
    (runs / f".fcnet-x-{'0' * 16}").mkdir()
    (runs / f".fcnet-y-{'0' * 16}").mkdir()
    (path / "notes.txt").touch()
    folder.reopen(path).close()

    assert sorted(os.listdir(runs)) == [f".fcnet-y-{'0' * 16}", "x"]
    assert "notes.txt" in os.listdir(path)
    assert not [name for name in os.listdir(path) if name.startswith(".")]


def test_reopening_what_is_not_there_is_a_checkpoint_error(runs: Path) -> None:
    """A run folder that does not exist is exit 5."""
    with pytest.raises(CheckpointError, match="no such run"):
        folder.reopen(runs / "x")


def test_x4_folder_that_others_can_write_to_is_noticed(runs: Path) -> None:
    """Going on with a run that every user may write to is noticed."""
    path = train(folder.claim(runs, "x"))
    path.chmod(0o777)
    with folder.reopen(path) as run:
        assert run.notices == [f"{path} can be written by every user of this machine"]
    path.chmod(0o755)
    with folder.reopen(path) as run:
        assert run.notices == []


def test_x4_run_folder_that_is_a_link_is_noticed(runs: Path) -> None:
    """Going on with a run through a link is noticed, and writes where the link leads; a missing log is begun again."""
    path = train(folder.claim(runs, "x"))
    (path / "log.txt").unlink()
    (runs / "link").symlink_to("x")
    with folder.reopen(runs / "link") as run:
        assert run.notices == ["runs/link is a link; the run goes on where it leads"]
        run.say("here")

    assert (path / "log.txt").read_text().endswith(" here\n")


def test_folder_that_cannot_be_locked_is_noticed(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the file system knows no locks, the run says so and goes on."""
    monkeypatch.setattr(files.Folder, "lock", lambda self: False)
    with folder.claim(runs, "x") as run:
        assert run.notices == ["runs/x cannot be locked here: do not start this run twice"]


def test_overwriting_keeps_the_old_run_until_the_first_checkpoint(runs: Path) -> None:
    """`--overwrite` leaves the old run whole until the new one has its first checkpoint, and then nothing of it."""
    path = train(folder.claim(runs, "x"), 1)
    (path / "notes.txt").write_text("about the old run")
    with folder.overwrite(runs, "x") as run:
        run.say("begins")
        run.save(folder.BEST, {"value": 2}, {})
        assert value(path) == 1
        assert folder.is_complete(path)
        run.save(folder.LAST, {"value": 2}, {})
        assert value(path) == 2
        assert not folder.is_complete(path)
        run.say("goes on")
        with pytest.raises(InUseError):
            folder.reopen(path)

    assert os.listdir(runs) == ["x"]
    assert sorted(os.listdir(path)) == ["best.npz", "environment.json", "last.npz", "log.txt"]
    assert [line[20:] for line in (path / "log.txt").read_text().splitlines()] == ["begins", "goes on"]


def test_overwriting_run_without_a_checkpoint_leaves_the_old_one(runs: Path) -> None:
    """An overwriting run that ends before its first checkpoint leaves the old run and nothing else."""
    path = train(folder.claim(runs, "x"), 1)
    with folder.overwrite(runs, "x") as run:
        run.save(folder.BEST, {"value": 2}, {})

    assert value(path) == 1
    assert os.listdir(runs) == ["x"]
    folder.reopen(path).close()


def test_overwriting_what_is_not_there_is_a_new_run(runs: Path) -> None:
    """`--overwrite` without an old run is a plain start."""
    assert train(folder.overwrite(runs, "x")) == runs / "x"


def test_overwriting_takes_no_folder_that_is_no_run(runs: Path) -> None:
    """A folder that holds no run, a file and a link are exit 7 and stay, however the run is called."""
    (runs / "src").mkdir(parents=True)
    (runs / "src" / "precious.py").touch()
    (runs / "file").touch()
    train(folder.claim(runs, "x"))
    (runs / "link").symlink_to("x")

    for name in ("src", "file", "link"):
        with pytest.raises(InUseError, match="--overwrite does not replace it"):
            folder.overwrite(runs, name)
    assert (runs / "src" / "precious.py").exists()
    assert value(runs / "link") == 1


def test_old_run_whose_folder_was_moved_meanwhile_is_not_touched(runs: Path) -> None:
    """When the old run is moved while the new one trains, it stays where it went, and the new one is exit 6."""
    train(folder.claim(runs, "x"), 1)
    with folder.overwrite(runs, "x") as run:
        (runs / "x").rename(runs / "kept")
        run.save(folder.BEST, {"value": 2}, {})
        with pytest.raises(StorageError, match="moved"):
            run.save(folder.LAST, {"value": 2}, {})

    assert value(runs / "kept") == 1


def test_run_without_a_checkpoint_starts_from_the_beginning(runs: Path) -> None:
    """A run that was stopped before its first checkpoint, or between the two files of it, has nothing to resume."""
    with folder.claim(runs, "x") as run:
        assert folder.resumable(run.path) is None
        run.save(folder.BEST, {}, {})
        assert folder.resumable(run.path) is None
        run.save(folder.LAST, {}, {})
        assert folder.resumable(run.path) == run.path / "last.npz"


@pytest.mark.parametrize("lost", [["last.npz"], ["last.npz", "best.npz"], ["last.npz", "environment.json"]])
@pytest.mark.parametrize("saves", [(folder.BEST, folder.LAST), (folder.BEST, folder.LAST, folder.BEST, folder.LAST)])
def test_run_that_lost_its_last_checkpoint_is_not_started_again(
    runs: Path, saves: tuple[str, ...], lost: list[str]
) -> None:
    """A run beyond its first checkpoint that has lost last.npz is exit 5, and never begun again silently."""
    with folder.claim(runs, "x") as run:
        for name in saves:
            run.save(name, {}, {})
    for name in lost:
        (run.path / name).unlink()

    with pytest.raises(CheckpointError, match=r"last\.npz is missing.*--overwrite") as caught:
        folder.resumable(run.path)
    assert ("best.npz still serves" in str(caught.value)) == ("best.npz" not in lost)


def test_run_keeps_its_notes_when_it_has_saved(runs: Path) -> None:
    """That there is a checkpoint is written beside what environment.json says already, and once."""
    with folder.claim(runs, "x") as run:
        run.write_json(folder.ENVIRONMENT, {"run": "abc", "started": "2026-01-01T00:00:00Z"})
        for name in (folder.BEST, folder.LAST):
            run.save(name, {}, {})
        told = run.folder.read(folder.ENVIRONMENT)

    assert folder.noted(told) == {"run": "abc", "started": "2026-01-01T00:00:00Z", "saved": True}


def test_k16_k17_damaged_checkpoints_are_named_with_what_still_serves(runs: Path) -> None:
    """A damaged last.npz is exit 5 that names best.npz as long as that is whole."""
    path = train(folder.claim(runs, "x"))
    last = folder.resumable(path)
    assert last is not None
    assert folder.read_last(last).header["value"] == 1

    last.write_bytes(last.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=r"last\.npz: .*best\.npz is whole and still serves"):
        folder.read_last(last)
    last.write_bytes(b"")
    (path / "best.npz").write_bytes(b"")
    with pytest.raises(CheckpointError, match="empty") as caught:
        folder.read_last(last)
    assert "serves" not in str(caught.value)


def test_dangling_last_checkpoint_is_not_a_fresh_start(runs: Path) -> None:
    """A last.npz that is a link which leads nowhere is exit 5, not a run without a checkpoint."""
    path = train(folder.claim(runs, "x"))
    (path / "last.npz").unlink()
    (path / "last.npz").symlink_to("nowhere")

    last = folder.resumable(path)
    assert last is not None
    with pytest.raises(CheckpointError):
        folder.read_last(last)


def test_f25_summary_is_strict_json(runs: Path) -> None:
    """metrics.json is strict JSON: a metric that is not a number is null."""
    path = train(folder.claim(runs, "x"))

    assert json.loads((path / "metrics.json").read_text()) == {"best_epoch": 1, "loss": None}


def test_k24_copied_checkpoint_works_alone(runs: Path, tmp_path: Path) -> None:
    """A checkpoint copied elsewhere is read without its run."""
    path = train(folder.claim(runs, "x"), 5)
    (tmp_path / "copy.npz").write_bytes((path / "best.npz").read_bytes())
    files.remove_tree(path)

    assert checkpoint.read(folder.resolve(tmp_path / "copy.npz")).header["value"] == 5


def test_strange_neighbours_do_not_matter(runs: Path) -> None:
    """Files, links that lead nowhere, empty folders and hostile notes beside the runs disturb nothing."""
    (runs / "empty").mkdir(parents=True)
    (runs / "loop").symlink_to("loop")
    (runs / "notes.txt").touch()
    (runs / "deep").mkdir()
    (runs / "deep" / "environment.json").write_text("[" * 100_000)
    (runs / "future").mkdir()
    (runs / "future" / "environment.json").write_text('{"started": "9999-12-31T23:59:59.999999Z"}')
    (runs / "pipe").mkdir()
    os.mkfifo(runs / "pipe" / "environment.json")
    (runs / "list").mkdir()
    (runs / "list" / "environment.json").write_text("[1]")
    before = time.time()
    path = train(folder.claim(runs, "x"))

    assert folder.complete(runs) == [path]
    assert folder.newest_of(runs, "empty") == runs / "empty"
    assert abs(checkpoint.created(checkpoint.peek(path / "best.npz")).timestamp() - before) < 3600
