"""`fcnet compare` and `fcnet runs`: which runs there are, what differs between them, and what of it is no chance."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from reports.reports_runs import HOSTILE, Parsed, train

from fcnet import api
from fcnet.cli import main
from fcnet.data.target import Binary
from fcnet.reports import comparison
from fcnet.reports.judged import Judged


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """Runs on the same rows with three rates, one on other rows, one of another kind, and one without scores."""
    folder = tmp_path_factory.mktemp("several")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, lr in (("slow", 1e-5), ("fast", 0.05)):
            train("regression", name=name, optimizer={"name": "adam", "lr": lr}, training={"epochs": 25})
        train("regression", name="others", data={"split": {"seed": 1}})
        train("binary", n=60)
        shutil.copytree("runs/slow", "runs/undone")
        Path("runs/undone/metrics.json").unlink()
        Path("runs/not a run").mkdir()
    return folder


@pytest.fixture
def here(several, monkeypatch):
    monkeypatch.chdir(several)
    return several


def said(capsys, *words):
    code = main(list(words))
    found = capsys.readouterr()
    return code, found.out, found.err


def test_what_differs_is_shown_with_a_test_on_the_same_rows(here, capsys):
    """The one key that differs, scores with their ends, and for each metric the difference with its interval."""
    code, out, err = said(capsys, "compare", "runs/slow", "runs/fast", "--json")
    found = json.loads(out)
    held = [json.loads(Path(f"runs/{name}/metrics.json").read_text())["test"] for name in ("slow", "fast")]

    assert (code, err) == (0, "")
    assert found["config"] == {"optimizer.lr": [1e-5, 0.05]}
    assert (found["part"], found["rows"], found["paired"], found["why"]) == ("test", [36, 36], True, None)
    assert [run["scores"]["rmse"] for run in found["runs"]] == [each["rmse"] for each in held]
    differences = {each["metric"]: each for each in found["differences"]}
    assert set(differences) == {"rmse", "mae", "r2"}
    rmse = differences["rmse"]
    assert (rmse["run"], rmse["than"]) == ("runs/fast", "runs/slow")
    assert rmse["difference"] == held[1]["rmse"]["value"] - held[0]["rmse"]["value"]
    assert rmse["low"] < rmse["difference"] < rmse["high"] < 0
    assert rmse["p"] < 0.01


def test_people_read_the_same_as_lines(here, capsys):
    """The text names part and rows, the key, both values, and how far apart the scores are."""
    code, out, _ = said(capsys, "compare", "runs/slow", "runs/fast")
    lines = [line.split() for line in out.splitlines()]

    assert code == 0
    assert ["optimizer.lr", "1e-05", "0.05"] in lines
    assert "scores   test, 36 rows" in out
    assert "than     runs/slow, on the same rows (paired bootstrap, 95 %)" in out
    assert any(line[:1] == ["rmse"] and line[-1] == "0.002" for line in lines)


def test_where_rows_differ_there_is_no_test_and_that_is_said(here, capsys):
    """Other rows, another target, rows from memory or files that are gone: scores side by side, and why no more."""
    others = json.loads(said(capsys, "compare", "runs/slow", "runs/others", "--json")[1])
    kinds = json.loads(said(capsys, "compare", "runs/slow", "runs/binary", "--json")[1])
    text = said(capsys, "compare", "runs/slow", "runs/others")[1]

    assert (others["paired"], others["differences"]) == (False, [])
    assert others["why"] == "their rows of test are not the same"
    assert kinds["why"] == "the runs predict different things"
    assert "unpaired their rows of test are not the same, so there is no test of the differences" in text


def test_what_cannot_be_compared_is_refused(here, capsys):
    """One run alone is wrong usage; a run without scores is named, and one whose scores are not there to read."""
    alone = said(capsys, "compare", "runs/slow")
    undone = said(capsys, "compare", "runs/slow", "runs/undone")
    shutil.copytree("runs/slow", "torn")
    Path("torn/metrics.json").write_text('{"best_epoch": 1, "epochs": 2}')
    torn = said(capsys, "compare", "runs/slow", "torn")
    shutil.rmtree("torn")

    assert (alone[0], alone[2]) == (2, "fcnet: compare takes two runs or more: fcnet compare RUN RUN\n")
    assert (undone[0], undone[2]) == (5, "fcnet: runs/undone: the run is not complete: it has no metrics.json\n")
    assert (torn[0], torn[2]) == (5, "fcnet: torn: the run is not complete: its metrics.json is garbled\n")


def test_the_page_of_a_comparison_needs_nothing_else(here, capsys):
    """-o writes the same as one page, with curves of all runs in one picture."""
    code, out, _ = said(capsys, "compare", "runs/slow", "runs/fast", "-o", "c.html")
    page = Path("c.html").read_text(encoding="utf-8")
    found = Parsed(page)

    assert (code, found.open, found.wrong) == (0, [], [])
    assert out.endswith("files    c.html\n")
    assert "script" not in found.tags
    assert page.count('class="c1 line"') == page.count('class="c2 line"') > 1
    assert "optimizer.lr" in found.text
    assert '<span class="right">better</span>' in page
    assert said(capsys, "compare", "runs/slow", "runs/fast", "-o", "runs/slow/best.npz")[0] == 2


def test_equal_predictions_are_not_told_apart_and_better_ones_are():
    """A net and itself differ by nothing, with p 1; one that is right ever more often differs surely."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 300)

    def judged(right):
        p = np.where(rng.random(300) < right, y, 1 - y)
        return Judged(
            "test", 300, Binary(("y",), ("a", "b")), np.arange(300), y, np.eye(2)[p] * 0.8 + 0.1, np.ones(300)
        )

    def compared(each, name):
        accuracy = float((each.p.argmax(axis=1) == y).mean())
        return comparison.Compared(Path(name), None, {"test": {"accuracy": {"value": accuracy}}}, {})

    low, high = judged(0.6), judged(0.9)
    runs = [compared(low, "low"), compared(low, "same"), compared(high, "high")]

    same, better = comparison.differences(runs, [low, low, high], "test")

    assert (same.value, same.low, same.high, same.p) == (0, 0, 0, 1)
    assert better.run == "high"
    assert 0.25 < better.low < better.value < better.high < 0.45
    assert better.p < 0.005


def test_runs_of_folds_are_tested_on_the_rows_that_nets_have_not_seen(tmp_path, monkeypatch, capsys):
    """Without a test part; and where folds leave out other rows, nothing is tested."""
    monkeypatch.chdir(tmp_path)
    parts = {"validation": 0, "test": 0}
    for name, lr in (("slow", 1e-5), ("fast", 0.05)):
        train("regression", n=60, name=name, data=parts, cv=3, optimizer={"name": "adam", "lr": lr})
    train("regression", n=60, name="later", data=parts, cv={"folds": 2, "by": "time", "column": "b"})

    found = json.loads(said(capsys, "compare", "runs/slow", "runs/fast", "--json")[1])
    rows = json.loads(said(capsys, "compare", "runs/slow", "runs/later", "--json")[1])

    assert (found["part"], found["rows"], found["paired"]) == ("validation", [60, 60], True)
    rmse = next(each for each in found["differences"] if each["metric"] == "rmse")
    slow, fast = (run["scores"]["rmse"]["value"] for run in found["runs"])
    assert rmse["difference"] == pytest.approx(fast - slow)
    assert rmse["low"] < rmse["difference"] < rmse["high"] < 0
    assert (rows["paired"], rows["rows"], rows["why"]) == (False, [60, 40], "their rows of validation are not the same")


def test_a_refitted_run_is_compared_by_the_net_that_its_scores_are_of(tmp_path, monkeypatch, capsys):
    """Beside the same run without the second training there is no difference at all."""
    monkeypatch.chdir(tmp_path)
    for name, refit in (("once", False), ("twice", True)):
        train("regression", name=name, refit=refit)

    found = api.compare([Path("runs/once"), Path("runs/twice")])

    assert [(d["difference"], d["low"], d["high"]) for d in found["differences"]] == [(0, 0, 0)] * 3
    assert found["notices"] == [
        "runs/twice: what is compared is validated.npz, the net before it was trained once more"
    ]


def test_a_run_beside_itself_does_not_differ(here, capsys):
    """Named twice, it is tested like any other."""
    code, out, _ = said(capsys, "compare", "runs/fast", "runs/fast")

    assert code == 0
    assert out.count("p 1") == 3


def test_runs_lists_the_newest_first(here, capsys):
    """One line for each run, whole or not, with epoch, time and scores; a folder that is none has none."""
    code, out, err = said(capsys, "runs")
    names = [line.split()[0] for line in out.splitlines()]

    assert (code, err) == (0, "")
    assert names[:4] == ["run", "runs/binary", "runs/others", "runs/fast"]
    assert sorted(names[4:]) == ["runs/slow", "runs/undone"]
    assert ["not complete" in line for line in out.splitlines()] == ["undone" in name for name in names]
    assert "rmse" in out.splitlines()[0]


def test_runs_are_chosen_and_sorted_by_what_they_are(here, capsys):
    """KEY=VALUE reads values as a config does; a metric sorts from the best on; - turns it round."""

    def names(*words):
        return [Path(each["run"]).name for each in json.loads(said(capsys, "runs", "--json", *words)[1])["runs"]]

    assert names("optimizer.lr=5e-2") == ["fast"]
    assert names("runs", "task=regression", "complete=true", "--sort", "rmse")[0] == "fast"
    assert names("task=regression", "complete=true", "--sort=-rmse")[-1] == "fast"
    assert names("complete=true", "--sort", "r2")[0] == "fast"
    assert names("complete=true", "--sort", "r2")[-1] == "binary"
    assert names("complete=false") == ["undone"]
    assert names("data.target=y", "network.layers.0.units=6", "--sort", "name")[0] == "binary"


def test_runs_are_chosen_by_what_configs_may_say_in_short(here, capsys):
    """A bare name stands for what is called so, a number for units, a mapping for those that have its keys."""

    def names(*words):
        return {Path(each["run"]).name for each in json.loads(said(capsys, "runs", "--json", *words)[1])["runs"]}

    every = names()
    assert names("optimizer=adam", "loss=squared_error", "complete=true") == {"slow", "fast", "others"}
    assert names("optimizer={name: adam, lr: 0.05}") == {"fast"}
    assert names("network.layers=[6]") == names("network.layers.0=6") == every
    assert names("network.layers=[6, 6]") == names("network.layers=[7]") == names("optimizer=sgd") == set()
    shown = said(capsys, "runs", "complete=false", "loss.name=squared_error")[1].splitlines()
    assert shown[0].split()[-2:] == ["complete", "loss.name"]
    assert shown[1].split()[-2:] == ["false", "squared_error"]


def test_a_run_is_listed_by_its_own_folder(here, capsys):
    """`fcnet runs runs/fast` is about that run, and garbled figures of another program end nothing."""
    found = json.loads(said(capsys, "runs", "runs/fast", "--json")[1])["runs"]
    shutil.copytree("runs/fast", "garbled/one")
    Path("garbled/one/metrics.json").write_text(
        '{"test": {"rmse": {"value": "x"}, "r2": 1}, "seconds": "q", "epochs": []}'
    )
    garbled = said(capsys, "runs", "garbled")

    shutil.copytree("runs/fast", "garbled/torn")
    for name in ("best.npz", "last.npz"):
        Path("garbled/torn", name).write_bytes(b"torn")
    torn = said(capsys, "runs", "garbled")

    assert [each["run"] for each in found] == ["runs/fast"]
    assert (garbled[0], garbled[2]) == (0, "")
    assert torn[1] == garbled[1]
    assert torn[2] == "notice: not listed, as there is no checkpoint in it that can be read: garbled/torn\n"
    assert garbled[1].splitlines()[1].startswith("garbled/one ")


def test_a_key_that_no_run_has_is_a_wrong_word(here, capsys):
    """The near miss is suggested; what is no KEY=VALUE and no folder is refused; nothing that fits is no error."""
    key = said(capsys, "runs", "optimiser.lr=1")
    sort = said(capsys, "runs", "--sort", "rsme")
    none = said(capsys, "runs", "optimizer.lr=7")
    folder = said(capsys, "runs", "no/such")

    assert (key[0], key[2]) == (2, 'fcnet: no run has "optimiser.lr"; did you mean optimizer.lr?\n')
    assert (sort[0], sort[2]) == (2, 'fcnet: no run has "rsme"; did you mean rmse?\n')
    assert none == (0, "", "no run in runs is like that\n")
    assert (folder[0], folder[2]) == (5, "fcnet: no/such: there is no such folder of runs\n")


def test_the_parameters_of_all_nets_count(tmp_path, monkeypatch, capsys):
    """An ensemble has those of each of its nets, in the comparison as on its own page."""
    monkeypatch.chdir(tmp_path)
    for name, nets in (("one", 1), ("three", 3)):
        train("binary", n=60, name=name, ensemble=nets, training={"epochs": 1})

    found = json.loads(said(capsys, "compare", "runs/one", "runs/three", "--json")[1])["runs"]
    assert main(["report", "runs/three", "-q"]) == 0
    with np.load("runs/one/best.npz") as held:
        one = sum(held[name].size for name in held.files if name[0] in "Wb")
    assert [run["parameters"] for run in found] == [one, 3 * one]
    assert f"3 nets of {one} parameters" in Path("runs/three/report.html").read_text()


def test_a_comparison_shows_strange_names_as_text(here, tmp_path, monkeypatch):
    """A folder called like an element is a name on the page."""
    for name in ("slow", "fast"):
        shutil.copytree(f"runs/{name}", tmp_path / f"{name}<b>")
    monkeypatch.chdir(tmp_path)

    found = api.compare([Path("slow<b>"), Path("fast<b>")], Path("c.html"))

    assert found["why"].startswith("the rows are not there any more")
    page = Path("c.html").read_text(encoding="utf-8")
    assert "<b>" not in page
    assert HOSTILE not in page
