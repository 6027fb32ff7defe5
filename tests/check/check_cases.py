"""Small configs on made-up tables, and formulas with a mistake planted in them."""

from dataclasses import dataclass

import numpy as np

from fcnet import config, signals
from fcnet.cli import main
from fcnet.nn.activations import ACTIVATIONS
from fcnet.training.prepare import prepare

TASKS = {"binary": "kind", "multiclass": "flower", "regression": "size", "multilabel": ["wet", "cold"]}


def write_table(folder, n=90, least=0):
    """Points with two numbers, a category, a gap and a name that is different in each row."""
    rng = np.random.default_rng(3)
    lines = ["size,age,place,name,kind,flower,wet,cold"]
    for i in range(n):
        age = f"{rng.normal():.3f}" if i != 7 else ""
        place = ("north", "south", "east")[i % 3]
        cold = int(rng.random() > 0.5)
        lines.append(
            f"{i % 3 + rng.normal():.3f},{age},{place},n{i}x,{'ab'[i % 2]},{'pqr'[i % 3]},{i % 2 + least},{cold}"
        )
    (folder / "plants.csv").write_text("\n".join(lines) + "\n")


def settings(folder, task="multiclass", **sections):
    """A config for one of the tasks; tables are written where they are missing."""
    if not (folder / "plants.csv").exists():
        write_table(folder)
    data = {"train": str(folder / "plants.csv"), "target": TASKS[task], "task": task, **sections.pop("data", {})}
    mapping = {"name": "plants", "data": data, "network": {"layers": [6]}, "output": str(folder / "runs"), **sections}
    return config.from_mapping(mapping)


def learnable(folder, loss):
    """The `data` whose target the loss can learn; a table is written where the usual will not do."""
    if loss.learns == "positive":
        write_table(folder, least=1)
    return {"target": "wet"} if loss.learns in ("amounts", "positive") else {}


def prepared(folder, task="multiclass", **sections):
    return prepare(settings(folder, task, **sections), threads=1)


def wrong_activation(monkeypatch, factor=1.001):
    """tanh whose vjp is too large by a factor, registered in its place."""
    tanh = ACTIVATIONS["tanh"]

    @dataclass(frozen=True)
    class Wrong(tanh):
        def vjp(self, a, z, δ):
            return factor * super().vjp(a, z, δ)

    Wrong.__qualname__ = "Wrong"
    monkeypatch.setitem(ACTIVATIONS, "tanh", Wrong)


def run(capsys, *arguments):
    """One command line in this process: (exit code, stdout, stderr)."""
    installed = signals.install
    signals.install = lambda: None
    try:
        code = main([str(argument) for argument in arguments])
    finally:
        signals.install = installed
    out, err = capsys.readouterr()
    return code, out, err
