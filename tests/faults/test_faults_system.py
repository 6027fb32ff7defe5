"""The world around the program fails: no room, no right, no memory, files in odd places, hostile checkpoints."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from faults_cases import ENVIRONMENT, HEADER, SETTINGS, rows

from fcnet import files
from fcnet.runs import checkpoint

TRAIN = f"FCNET train t.csv --target label {' '.join(SETTINGS[:1])} 'network.layers=[4]' threads=1"


@pytest.fixture
def table(call, tmp_path):
    (tmp_path / "t.csv").write_text("\n".join([HEADER, *rows()]) + "\n")
    return tmp_path


@pytest.mark.parametrize(
    ("layers", "shown"),
    [
        pytest.param("[1000000,1000000]", "4.0 TB (weights)", id="R1-a-million-squared"),
        pytest.param("[1000000000]", "(weights)", id="K8-a-billion-units"),
    ],
)
def test_a_net_that_cannot_fit_is_9_with_the_arithmetic(call, table, layers, shown):
    """What would never fit is refused before anything is allocated, with the sum that shows it, and no run begins."""
    code, _, err = call("train", "t.csv", "--target", "label", f"network.layers={layers}")

    assert code == 9
    assert shown in err
    assert not (table / "runs").exists()


@pytest.mark.parametrize(
    ("output", "code"),
    [
        pytest.param("t.csv", 6, id="F10-a-file"),
        pytest.param("t.csv/x", 6, id="F10-under-a-file"),
        pytest.param("new/deep/er", 0, id="F10-missing-parents"),
        pytest.param("a\nb\x1b]0;x\x07", 3, id="F11-control-characters"),
        pytest.param("n" * 300, 6, id="F11-too-long"),
    ],
)
def test_odd_output_folders_work_or_are_6(call, table, output, code):
    """A run goes into any folder that can be made; what cannot be is refused."""
    found, _, err = call("train", "t.csv", "--target", "label", *SETTINGS, "-o", output)

    assert found == code, err
    assert code or (table / output / "t" / "best.npz").exists()


@pytest.mark.parametrize(
    ("folder", "file", "code", "said"),
    [
        pytest.param(0o555, 0o644, 6, 'runs: no permission ("." has the mode dr-xr-xr-x)', id="F9-folder"),
        pytest.param(0o777, 0o000, 6, "t.csv: cannot be read", id="F9-input"),
    ],
)
def test_what_may_not_be_touched_is_named(folder, file, code, said):
    """Someone without the right to read the table or to write here is told the path, and nothing is left."""
    # Not in tmp_path, whose parents are closed to others.
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        (place / "t.csv").write_text("\n".join([HEADER, *rows()]) + "\n")
        (place / "t.csv").chmod(file)
        place.chmod(folder)
        other = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.geteuid() == 0 else []
        line = [*other, sys.executable, "-m", "fcnet", "train", "t.csv", "--target", "label", *SETTINGS]
        ended = subprocess.run(
            line, cwd=place, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False
        )
        left = os.listdir(place)
        place.chmod(0o755)

    assert (ended.returncode, said in ended.stderr) == (code, True), ended.stderr
    assert left == ["t.csv"]


def test_f13_the_folder_for_temporary_files_does_not_matter(table, process):
    """Checkpoints are made beside their final place, so a TMPDIR that does not exist changes nothing."""
    ended = process(f"TMPDIR=/nonexistent {TRAIN}")

    assert ended.returncode == 0, ended.stderr
    assert (table / "runs/t/best.npz").exists()


def test_f4_a_limit_on_file_sizes_is_6(table, process):
    """A file that may not grow is a failure of the file system, without a traceback or a half file."""
    ended = process(f"ulimit -f 4; {TRAIN}")

    assert ended.returncode == 6, ended.stderr
    assert "Traceback" not in ended.stderr
    assert not list(table.rglob("*.npz"))


def test_x15_surprises_in_the_environment_change_nothing(trained, process):
    """Only documented variables count: others that carry the program's name are not looked at."""
    plain = process("FCNET predict t.csv -o -")
    ended = process('env "FC""NET_SEED=7" "FC""NET_OUTPUT=x" PYTHONHASHSEED=7 COLUMNS=0 FCNET predict t.csv -o -')

    assert (ended.returncode, ended.stdout) == (0, plain.stdout), ended.stderr


@pytest.mark.parametrize("path", ["/etc/passwd", "../../../etc/passwd"], ids=["X5-absolute", "X5-upwards"])
def test_checkpoints_that_name_files_of_the_host_show_nothing_of_them(call, trained, path):
    """A checkpoint cannot make `eval` read or show a file that is not the one it was trained on."""
    held = checkpoint.read(trained / "runs/t/best.npz")
    header = json.loads(json.dumps(held.header).replace("t.csv", path))
    checkpoint.write(files.Folder(trained), "evil.npz", header, dict(held.arrays))

    code, _, err = call("eval", "evil.npz")

    assert code in (4, 5), err
    assert "root:" not in err
