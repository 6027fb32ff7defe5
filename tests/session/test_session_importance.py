"""What a score loses when a column is shuffled: `eval --importance`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fcnet
from fcnet import random, signals
from fcnet.cli import main
from fcnet.runs import importance as module


def table(task: str, n: int = 400) -> dict[str, Any]:
    """A number and a category with holes that tell much and something, and a column that tells nothing."""
    rng = np.random.default_rng(5)
    much, noise = rng.normal(size=(2, n))
    some = rng.integers(0, 3, n)
    value = 2 * much + 1.5 * (some == 1) + 0.1 * rng.normal(size=n)
    y = value if task == "regression" else np.where(value > 0, "yes", "no")
    return {"noise": noise, "some": np.array(["a", "b", "c"])[some], "much": much, "y": y}


def write(path: str, columns: dict[str, Any]) -> None:
    lines = [",".join(map(str, row)) for row in [list(columns), *zip(*columns.values(), strict=True)]]
    Path(path).write_text("\n".join(lines) + "\n")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def trained(task: str, **more: Any) -> fcnet.Run:
    write("t.csv", table(task))
    given = {"name": "r", "data": {"train": "t.csv", "target": "y", "test": 0.5}, "network": {"layers": [16]}}
    return fcnet.train({**given, "optimizer": {"lr": 0.02}, "training": {"epochs": 15}, "backend": "numpy", **more})


@pytest.mark.parametrize(("task", "metric"), [("binary", "accuracy"), ("regression", "rmse")])
def test_columns_stand_in_the_order_of_what_they_tell(task: str, metric: str) -> None:
    """A loss is above 0 whichever direction of the metric is better; what tells nothing loses nothing, to the error."""
    run = trained(task)

    found = run.model.evaluate(importance=True)["importance"]

    assert (found["metric"], found["rows"], found["repeats"]) == (metric, 200, 5)
    much, some, noise = found["columns"]
    assert [each["column"] for each in found["columns"]] == ["much", "some", "noise"]
    assert much["mean"] > some["mean"] > 2 * some["se"]
    assert noise["low"] < 0.1 * some["mean"]
    assert abs(noise["mean"]) < 3 * noise["se"] + 0.1 * some["mean"]
    assert all(each["low"] < each["mean"] < each["high"] for each in (much, some, noise))
    assert found == run.model.evaluate(importance=True)["importance"]


@pytest.mark.parametrize("column", ["some", "much"])
def test_it_is_the_loss_of_a_table_whose_column_is_shuffled(column: str) -> None:
    """Cells of a table moved among its rows give the same: all inputs of a category move together."""
    run = trained("binary", preprocess={"categorical": "one_hot"})
    new = {name: values[:90] for name, values in table("binary").items()}
    write("new.csv", new)

    before = run.model.evaluate("new.csv", importance=True)

    losses = []
    for repeat in range(5):
        order = random.permutation(90, random.key(0, "importance"), repeat)
        write("moved.csv", {**new, column: new[column][order]})
        losses.append(before["accuracy"]["value"] - run.model.evaluate("moved.csv")["accuracy"]["value"])
    found = next(each for each in before["importance"]["columns"] if each["column"] == column)
    assert found["mean"] == pytest.approx(np.mean(losses), abs=1e-12)


def test_codes_of_an_embedding_move_too() -> None:
    """A category that comes as a code is a column as any other."""
    layers = [{"name": "embedding", "size": 4}, 16]
    run = trained("regression", preprocess={"categorical": "codes"}, network={"layers": layers})

    found = run.model.evaluate(importance=True)["importance"]["columns"]

    assert {each["column"] for each in found} == {"noise", "some", "much"}
    assert all(each["mean"] > 0 for each in found if each["column"] != "noise")


def test_the_error_is_as_large_as_chance_makes_it() -> None:
    """Over many tables the losses scatter about as much as their standard errors say."""
    run = trained("binary")
    rng = np.random.default_rng(9)
    means, errors = [], []
    for _ in range(12):
        n = 150
        much = rng.normal(size=n)
        some = rng.integers(0, 3, n)
        y = np.where(2 * much + 1.5 * (some == 1) + 0.1 * rng.normal(size=n) > 0, "yes", "no")
        write("new.csv", {"noise": rng.normal(size=n), "some": np.array(["a", "b", "c"])[some], "much": much, "y": y})
        columns = run.model.evaluate("new.csv", importance=True)["importance"]["columns"]
        found = next(each for each in columns if each["column"] == "much")
        means.append(found["mean"])
        errors.append(found["se"])

    assert 0.6 < np.std(means, ddof=1) / np.mean(errors) < 1.6


def test_of_many_rows_some_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work and memory are bounded, and how many rows were used is said."""
    run = trained("binary")
    monkeypatch.setattr(module, "ROWS", (30, 120))

    few = run.model.evaluate(importance=True)["importance"]
    monkeypatch.setattr(module, "WORK", 5 * 3 * 50)
    fewer = run.model.evaluate(importance=True)["importance"]

    assert (few["rows"], fewer["rows"]) == (120, 50)
    assert few["columns"][0]["column"] == fewer["columns"][0]["column"] == "much"


def test_eval_prints_a_table_and_json(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The table stands below the scores and says what was done; --json has all of it, and without the option neither
    has any."""
    trained("binary")
    monkeypatch.setattr(signals, "install", lambda: None)

    def said(*words: str) -> str:
        assert main(["eval", "runs/r", *words]) == 0
        return capsys.readouterr().out

    shown, told, plain = said("--importance"), json.loads(said("--importance", "--json")), said()

    lines = shown.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("column"))
    assert lines[start].split()[1:] == ["loss", "in", "accuracy,", "shuffled", "mean", "error", "95", "%", "from", "to"]
    assert [line.split()[0] for line in lines[start + 1 : start + 4]] == ["much", "some", "noise"]
    assert lines[start + 4].strip() == "200 rows, 5 times"
    assert f"{told['importance']['columns'][0]['mean']:.3f}" in lines[start + 1]
    assert "shuffled" not in plain
