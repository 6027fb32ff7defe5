"""A folder with a small table and one trained run, and the command line in one call."""

import shutil
import subprocess
import sys

import pytest
from faults_cases import ENVIRONMENT, HEADER, SETTINGS, rows

from fcnet import signals
from fcnet.cli import main


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    """Run one command line in a folder of its own: exit code, stdout, stderr. No traceback, no half file, ever."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FCNET_DEBUG", "1")
    monkeypatch.setattr(signals, "install", lambda: None)

    def run(*arguments):
        code = main([str(a) for a in arguments])
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        assert "\x1b" not in said.out + said.err
        assert not code or not said.out
        assert not list(tmp_path.rglob("*.tmp"))
        return code, said.out, said.err

    return run


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """The folder of one finished training, made once."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "t.csv").write_text("\n".join([HEADER, *rows()]) + "\n")
    line = [sys.executable, "-m", "fcnet", "train", "t.csv", "--target", "label", *SETTINGS]
    subprocess.run(line, cwd=folder, env=ENVIRONMENT, check=True, capture_output=True)
    return folder


@pytest.fixture
def trained(finished, call, tmp_path):
    """A folder of one's own with `t.csv` and the run `runs/t`."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture
def process(tmp_path):
    """Run one command line in a shell of its own; FCNET in it is the program."""

    def run(line):
        full = line.replace("FCNET", f"{sys.executable} -m fcnet")
        return subprocess.run(
            ["/bin/sh", "-c", full],
            cwd=tmp_path,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run
