"""A stand-in for the library behind the commands, so that every event and every failure can be staged."""

import sys
from types import SimpleNamespace

import pytest

import fcnet
from fcnet import signals
from fcnet.cli import main
from fcnet.training.events import Glance


@pytest.fixture
def head():
    return Glance(
        name="digits",
        task="multiclass",
        rows=1797,
        numbers=64,
        categories=0,
        targets=("digit",),
        classes=10,
        train=1257,
        validation=270,
        test=270,
        widths=(64, 256, 128, 10),
        activations=("relu", "relu"),
        parameters=50826,
        optimizer="adam",
        lr=1e-3,
        backend="numpy",
        threads=2,
    )


@pytest.fixture
def scores():
    def part(accuracy, log_loss):
        return {
            "loss": log_loss,
            "accuracy": {"value": accuracy, "trivial": 0.101},
            "log_loss": {"value": log_loss, "trivial": 2.3021},
        }

    return {
        "best_epoch": 31,
        "epochs": 50,
        "step": 2000,
        "seconds": 1.5,
        "train": part(1.0, 0.001),
        "validation": part(0.9851, 0.0611),
        "test": part(0.9778, 0.0741),
    }


@pytest.fixture
def api(monkeypatch):
    """`fcnet.api`, empty: a test puts in the functions that its command calls."""
    module = SimpleNamespace()
    monkeypatch.setitem(sys.modules, "fcnet.api", module)
    monkeypatch.setattr(fcnet, "api", module, raising=False)
    return module


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    """Run one command line in an empty folder; the exit code, stdout and stderr. Signal handlers stay as they were."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.delenv("FCNET_DEBUG", raising=False)
    monkeypatch.setattr(signals, "install", lambda: None)

    def run(*arguments):
        code = main([str(a) for a in arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run
