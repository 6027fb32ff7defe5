"""The small table of these tests, and the settings that train on it in an instant."""

import os
from pathlib import Path

import fcnet

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(fcnet.__file__).parents[1])}
SETTINGS = ("training.epochs=1", "network.layers=[4]", "threads=1", "recipe=plain")
HEADER = "a,b,colour,label"


def rows(n=60):
    """n lines of two numbers, a category and one of two labels."""
    return [
        f"{i % 7 + i / 100:.2f},{i * 5 % 11},{('red', 'green', 'blue')[i % 3]},{'no' if i * 7 // 3 % 2 else 'yes'}"
        for i in range(n)
    ]


def with_column(name, cell):
    """The table with one column more, whose cells `cell(i)` gives."""
    return "\n".join([f"{HEADER},{name}", *(f"{line},{cell(i)}" for i, line in enumerate(rows()))]) + "\n"
