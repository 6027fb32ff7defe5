"""Labels from end to end: whatever they look like, predict says them as the file does, and eval finds them again."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

import fcnet
from fcnet import api

LABELS = {
    "signs": ["+1", "-1"],
    "months": ["08", "09", "10", "11"],
    "prices": ["1.0", "2.50", "3"],
    "whole": ["1", "2", "3"],
    "fractions": ["1", "2.5"],
    "points": ["1.0", "2.0", "10.0"],
    "exponents": ["1e3", "2000"],
    "mixed": ["1", "01", "x", "2.0"],
    "booleans": ["TRUE", "FALSE"],
    "dates": ["2020-01-01", "2020-02-01 12:30:00"],
}


def table(name: str, labels: list[str], path: str = "t.csv") -> list[str]:
    """Writes a table of 48 rows whose labels follow from the one feature, and gives the labels of its rows."""
    cells = [labels[i % len(labels)] for i in range(48)]
    rows = [f"{i % len(labels) + i / 1000:.3f},{cell}" for i, cell in enumerate(cells)]
    Path(path).write_text("\n".join(["a,y", *rows]) + "\n")
    return cells


def train(name: str, **section: object) -> fcnet.Run:
    data = {"train": "t.csv", "target": "y", "task": "auto", "validation": 0, **section}
    network = {"layers": [16]}
    more = {"optimizer": {"name": "adam", "lr": 0.03}, "training": {"epochs": 60}, "threads": 1}
    return fcnet.train({"name": name, "data": data, "network": network, **more})


@pytest.mark.parametrize("name", LABELS)
def test_predictions_say_the_labels_of_the_file(place, name):
    """Every label stands in the predictions as in the table, in CSV and from Python, and is scored as itself."""
    cells = table(name, LABELS[name])
    run = train(name, task="multiclass" if len(LABELS[name]) > 2 else "binary")

    api.predict("t.csv", place / "out.csv", checkpoint=run.path)
    rows = list(csv.DictReader((place / "out.csv").read_text().splitlines()))
    classes = run.model.header["classes"]

    assert [row["prediction"] for row in rows] == cells
    assert {f"p({cell})" for cell in cells} < rows[0].keys()
    assert len({isinstance(label, str) for label in classes}) == 1
    assert isinstance(classes[0], str) == (name not in ("whole", "fractions"))
    assert list(run.model.predict("t.csv")) == [classes[list(map(str, classes)).index(cell)] for cell in cells]
    assert json.loads(json.dumps(run.model.evaluate("t.csv")))["accuracy"]["value"] == 1


@pytest.mark.parametrize("name", LABELS)
def test_labels_that_another_program_has_read_and_written_are_found(place, name):
    """What pandas makes of the labels, as a frame and as its CSV and Parquet, is still the same labels."""
    pd = pytest.importorskip("pandas")
    pl = pytest.importorskip("polars")
    table(name, LABELS[name])
    run = train(name, task="multiclass" if len(LABELS[name]) > 2 else "binary")
    frame = pd.read_csv("t.csv", dtype={"y": str} if name == "mixed" else None)
    frame.to_csv("again.csv", index=False)
    pl.DataFrame({column: frame[column].tolist() for column in frame}).write_parquet("again.parquet")

    for data in (frame, "again.csv", "again.parquet"):
        assert run.model.evaluate(data)["accuracy"]["value"] == 1


@pytest.mark.parametrize("name", ["fractions", "signs", "whole"])
def test_predictions_in_parquet_have_one_type(place, name):
    """A column of labels is one of numbers where all classes are numbers, else one of texts."""
    pl = pytest.importorskip("polars")
    cells = table(name, LABELS[name])
    run = train(name, task="multiclass" if len(LABELS[name]) > 2 else "binary")

    api.predict("t.csv", place / "out.parquet", checkpoint=run.path)
    found = pl.read_parquet("out.parquet")["prediction"].to_list()

    assert found == (cells if name == "signs" else [float(cell) for cell in cells])


def test_a_column_of_parts_may_come_from_any_source(place):
    """The names of the parts are found in declared categories, as in texts."""
    pd = pytest.importorskip("pandas")
    parts = pd.Series(["train", "train", "validation", "test"] * 12)
    frame = pd.DataFrame({"a": np.arange(48) % 7, "y": ["u", "v"] * 24, "part": parts.astype("category")})

    config = {"data": {"target": "y", "split": {"by": "column", "column": "part"}}, "training": {"epochs": 1}}
    run = fcnet.train(config, frame)

    assert set(run.metrics) >= {"train", "validation", "test"}
