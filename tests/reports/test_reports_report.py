"""`fcnet report`: one page that tells all of a run, needs nothing else, and takes what comes from data for text."""

import html
import itertools
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from reports.reports_runs import HOSTILE, Parsed, train, write

import fcnet
from fcnet import api
from fcnet import data as tables
from fcnet.cli import main
from fcnet.optim.update import Updater
from fcnet.reports import report
from fcnet.reports.drawing import HEIGHT, LEFT, WIDTH, Axis, Picture
from fcnet.reports.judged import calibration, confusion, histogram, sides
from fcnet.runs.model import Predictor
from fcnet.training.gradcheck import Trial
from fcnet.training.prepare import Prepared

KINDS = ("binary", "multiclass", "regression", "multilabel")


@pytest.fixture(scope="module", params=KINDS)
def page(trained, request):
    """The page of a run of each kind."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(trained)
        done = api.report(Path("runs") / request.param)
        return (trained / done["report"]).read_text(encoding="utf-8")


def test_the_page_is_whole_and_needs_nothing_else(page):
    """Every element is closed, none loads anything, and the page itself forbids it."""
    found = Parsed(page)

    assert (found.open, found.wrong) == ([], [])
    assert not {"script", "link", "img", "iframe", "object", "embed"} & set(found.tags)
    assert not re.search(r"(src=|url\(|@import|https?://)", page)
    assert "default-src 'none'" in found.of("meta", "content")[-1]
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page


def test_the_page_can_be_heard_and_walked_through(page):
    """It has a language, landmarks, headings in order, links that lead somewhere, and words for every picture."""
    found = Parsed(page)
    ids = [attributes["id"] for _, attributes in found.attributes if "id" in attributes]
    levels = [int(tag[1]) for tag in found.tags if re.fullmatch(r"h\d", tag)]

    assert found.of("html", "lang") == ["en"]
    assert {"header", "nav", "main", "footer", "title"} <= set(found.tags)
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))
    assert len(ids) == len(set(ids))
    assert {href[1:] for href in found.of("a", "href")} <= set(ids)
    pictures = [attributes for tag, attributes in found.attributes if tag == "svg" and "role" in attributes]
    assert len(pictures) >= 3
    for picture in pictures:
        assert {*picture["aria-labelledby"].split()} <= set(ids)
    assert found.tags.count("title") == found.tags.count("desc") + 1 == len(pictures) + 1
    assert set(found.of("th", "scope")) == {"row", "col"}
    assert all("scope" in attributes for tag, attributes in found.attributes if tag == "th")


def test_text_from_data_is_text_on_the_page(page):
    """Names of columns, labels and categories with markup are shown and not obeyed."""
    assert HOSTILE not in page
    assert "<b>" not in page
    assert HOSTILE[:12] in "".join(Parsed(page).text)


def test_the_parts_are_there(page):
    """Summary, data, curves, predictions, worst rows, weights, config and commands each have their place."""
    found = Parsed(page)

    assert [href[1:] for href in found.of("a", "href")][1:] == [
        "summary", "data", "learning", "predictions", "worst-rows", "importance", "weights", "config", "again",
    ]  # fmt: skip


def test_the_page_says_what_the_files_say(runs):
    """Scores with their ends and the guess, confusions, the worst row, and the best epoch are those of the run."""
    summary = json.loads((runs / "binary/metrics.json").read_text())
    model = fcnet.load(runs / "binary")
    header, *lines = Path("binary.csv").read_text().splitlines()
    page = (runs.parent / api.report(Path("runs/binary"))["report"]).read_text(encoding="utf-8")
    text = " ".join("".join(Parsed(page).text).split())

    accuracy = summary["test"]["accuracy"]
    assert f"it is right for {accuracy['value']:.1%} (95 %: {accuracy['low']:.1%} to {accuracy['high']:.1%})" in text
    assert f"guessing gets {accuracy['trivial']:.1%}." in text
    assert f"epoch {summary['best_epoch']} of 4 is the best" in text
    assert "On 36 rows of test." in text
    shown = [int(cell) for cell in re.findall(r'style="--k:\d+">(\d+)</td>', page)]
    assert len(shown) == 4
    assert sum(shown) == 36
    assert (shown[0] + shown[3]) / 36 == pytest.approx(accuracy["value"])
    line, off = re.search(r'<th scope="row">line (\d+)</th><td class="n">([\d.]+)</td>', page).groups()
    cells = lines[int(line) - 2]
    Path("one.csv").write_text(f"{header}\n{cells}\n")
    p = model.predict_proba("one.csv")[0][list(map(str, model.classes)).index(cells.split(",")[-1])]
    assert -np.log(p) == pytest.approx(float(off), rel=0.01)


@pytest.mark.parametrize("apart", [False, True])
def test_the_worst_row_is_found_in_its_line(tmp_path, monkeypatch, apart):
    """Rows without a target are dropped, and lines still count them, in the one table or in that of the part."""
    monkeypatch.chdir(tmp_path)
    parts = ["test" if apart else ("train", "validation", "test")[i % 3] for i in range(80)]
    rows = [[i % 7, part, "" if i % 5 == 1 else i % 7] for i, part in enumerate(parts)]
    rows[50][2] = 1000
    write("t.csv", ["a", "part", "y"], rows)
    write("train.csv", ["a", "part", "y"], [[i % 7, "train", i % 7] for i in range(40)])
    data = {"train": "t.csv", "target": "y", "missing_target": "drop", "task": "regression"}
    data |= {"split": {"by": "column", "column": "part"}}
    if apart:
        data |= {"train": "train.csv", "test": "t.csv", "validation": 0, "split": {}, "exclude": ["part"]}
    run = fcnet.train({"name": "t", "data": data, "network": {"layers": [2]}, "training": {"epochs": 2}}).path

    page = Path(api.report(run)["report"]).read_text(encoding="utf-8")

    where, truth = re.search(r'<th scope="row">(line \d+)</th><td class="n">[\d.]+</td><td>(.*?)</td>', page).groups()
    assert (where, truth) == ("line 52", "1000")


def test_the_newest_run_is_taken_and_the_file_named(runs, capsys):
    """Without RUN the page of the newest run is written into its folder; -o names another file, which is replaced."""
    code = main(["report"])
    first = capsys.readouterr()
    again = main(["report", "runs/binary", "-o", "b.html", "--json"]), main(["report", "runs/binary", "-o", "b.html"])
    second = capsys.readouterr()
    refused = main(["report", "runs/binary", "-o", "runs/binary/best.npz"])

    assert (code, again) == (0, (0, 0))
    assert first.out == "files    runs/multilabel/report.html\n"
    assert first.err == "notice: the newest complete run is runs/multilabel\n"
    assert json.loads(second.out.partition("files")[0])["report"] == "b.html"
    assert second.err == "notice: b.html is replaced\n"
    assert refused == 2


def test_a_dash_sends_the_page_to_stdout(runs, capsys):
    """`-o -` prints the page that `-o FILE` writes, and no file named - appears."""
    main(["report", "runs/binary", "-o", "b.html", "-q"])
    capsys.readouterr()

    code = main(["report", "runs/binary", "-o", "-"])
    out = capsys.readouterr().out

    assert (code, out) == (0, Path("b.html").read_text(encoding="utf-8"))
    assert not Path("-").exists()
    assert main(["report", "runs/binary", "-o", "-", "--json"]) == 2


@pytest.mark.parametrize(
    "spoiled",
    [
        "{",
        "[]",
        '{"test": 3, "train": {"accuracy": {"value": "tall order"}}}',
        '{"best_epoch": "tall order", "epochs": [], "seconds": "tall order", "refit": 3, "folds": {}}',
    ],
)
def test_files_that_are_spoiled_do_not_stop_a_page(runs, tmp_path, monkeypatch, spoiled):
    """What cannot be read of metrics.json, metrics.csv, log.txt and environment.json is not shown."""
    for name in ("metrics.json", "metrics.csv", "log.txt", "environment.json"):
        shutil.copytree(runs / "binary", tmp_path / name)
        (tmp_path / name / name).write_bytes(spoiled.encode() + b"\xff\x00" * (name != "metrics.json"))
    monkeypatch.chdir(tmp_path)

    for name in ("metrics.json", "metrics.csv", "log.txt", "environment.json"):
        page = Path(api.report(Path(name))["report"]).read_text(encoding="utf-8")
        assert Parsed(page).open == []
        assert "tall order" not in page.partition("<main")[2].partition('id="data"')[0]


@pytest.mark.parametrize(
    ("file", "spoiled"),
    [
        ("metrics.csv", "epoch,train_loss\n1\n"),
        ("metrics.csv", "epoch,train_loss\nx,1\n"),
        ("metrics.csv", "epoch,train_loss\n1,-1e308\n2,1e308\n"),
        ("metrics.csv", "epoch,train_loss\n1," + "1" * 200_000 + "\n"),
        ("metrics.json", '{"train": {}, "test": {"rmse": {"value": 0.5, "low": 0.4}}}'),
    ],
)
def test_a_file_that_is_torn_does_not_stop_a_page(runs, tmp_path, file, spoiled):
    """A row cut short, an epoch that is no number, losses too far apart, half an interval: what is sound stays."""
    shutil.copytree(runs / "regression", tmp_path / "torn")
    (tmp_path / "torn" / file).write_text(spoiled)

    page = Path(api.report(tmp_path / "torn")["report"]).read_text(encoding="utf-8")

    assert Parsed(page).open == []
    assert ('<h2 id="learning-title"' in page) == (file == "metrics.json" or "e308" in spoiled)
    assert file == "metrics.csv" or "<strong>0.5 (root mean square)</strong>; guessing gets –." in page


@pytest.mark.parametrize("kind", ["regression", "binary"])
@pytest.mark.parametrize(("factor", "weight"), [(1, 0), (1e38, 1)])
def test_rows_that_say_nothing_are_left_out_of_pictures(tmp_path, monkeypatch, kind, factor, weight):
    """Where no row of the test part has weight, or none a prediction that is a number, the page does without them."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 60)).round(3)
    y = a - b if kind == "regression" else np.where(a > b, "yes", "no")
    write("train.csv", ["a", "b", "w", "y"], zip(a, b, [1] * 60, y, strict=True))
    write("test.csv", ["a", "b", "w", "y"], zip(a * factor, b * factor, [weight] * 60, y, strict=True))
    data = {"train": "train.csv", "test": "test.csv", "target": "y", "weight": "w"}
    run = fcnet.train({"data": data, "network": {"layers": [64, 64]}, "training": {"epochs": 1}, "backend": "numpy"})

    page = Path(api.report(run.path)["report"]).read_text(encoding="utf-8")

    assert Parsed(page).open == []
    assert "On 60 rows of test." in page


def test_without_its_rows_a_run_still_has_a_page(runs, tmp_path, monkeypatch):
    """Where the data are gone, the page does without predictions and says why."""
    shutil.copytree(runs / "regression", tmp_path / "alone")
    monkeypatch.chdir(tmp_path)

    done = api.report(Path("alone"))
    page = Path("alone/report.html").read_text(encoding="utf-8")

    assert "not to be found from here" in done["notices"][0]
    assert "the page does without what needs the rows" in page
    assert 'id="predictions"' not in page
    assert 'id="learning"' in page


def test_a_run_writes_its_page_where_the_config_says_so(tmp_path, monkeypatch):
    """`report: true` leaves report.html in the folder, with the predictions, from a file or from memory."""
    monkeypatch.chdir(tmp_path)
    x = np.random.default_rng(0).normal(size=(60, 2))

    train("regression", n=60, report=True)
    config = {
        "name": "mem",
        "report": True,
        "data": {"test": 0.2},
        "network": {"layers": [3]},
        "training": {"epochs": 2},
    }
    run = fcnet.train(config, data=(x, x[:, 0] - x[:, 1]))

    for path in (Path("runs/regression"), run.path):
        assert 'id="predictions"' in (path / "report.html").read_text(encoding="utf-8")


def test_a_page_that_cannot_be_written_is_a_notice(tmp_path, monkeypatch):
    """The run is complete all the same: what stands in the page's way is said."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(api, "REPORT", "no/such/folder.html")

    run = train("regression", n=60, report=True)

    assert (run / "metrics.json").exists()


def test_columns_stand_in_the_order_of_what_they_are_worth(runs):
    """The page has what `eval --importance` says, the most important column first."""
    wanted = api.evaluate(Path("runs/regression"), importance=True)["importance"]

    page = Path(api.report(Path("runs/regression"))["report"]).read_text(encoding="utf-8")

    part = page.partition('<section id="importance"')[2].partition("</section>")[0]
    names = [html.unescape(name) for name in re.findall(r'<th scope="row">(.*?)</th>', part)]
    assert names == [each["column"] for each in wanted["columns"]]
    assert re.findall(r"width:(\d+)%", part)[0] == "100"
    assert f"What {wanted['metric']} loses" in part


def test_what_a_threshold_decides_is_what_is_counted(tmp_path, monkeypatch):
    """Where the second class is said from another probability on than one half, confusions and tests go by that."""
    monkeypatch.chdir(tmp_path)
    for name, threshold in (("half", 0.5), ("never", 0.999)):
        train("binary", name=name, threshold=threshold)

    page = Path(api.report(Path("runs/never"))["report"]).read_text(encoding="utf-8")
    found = api.compare([Path("runs/half"), Path("runs/never")])

    shown = [int(cell) for cell in re.findall(r'style="--k:\d+">(\d+)</td>', page)]
    assert shown[1] == shown[3] == 0
    assert "is said where its probability is above 0.999" in page
    accuracy = next(each for each in found["differences"] if each["metric"] == "accuracy")
    assert accuracy["low"] < accuracy["difference"] < 0
    assert accuracy["difference"] < accuracy["high"]


def test_the_nets_of_a_run_are_told_apart(tmp_path, monkeypatch):
    """Several nets each have their share and what they would be worth alone; together they are what the run is."""
    monkeypatch.chdir(tmp_path)
    run = train("binary", ensemble=3)
    accuracy = json.loads((run / "metrics.json").read_text())["test"]["accuracy"]["value"]

    page = Path(api.report(run)["report"]).read_text(encoding="utf-8")

    rows = re.findall(r'<th scope="row">(net \d|<strong>together</strong>)</th><td class="n">([\d.]+)%', page)
    assert rows == [(f"net {i}", "33.3") for i in (1, 2, 3)] + [("<strong>together</strong>", "100")]
    assert f'<td class="n"></td><td class="n"><strong>{accuracy:.3f}</strong>' in page
    assert ", 3 nets of " in page


def test_the_gradient_is_that_of_the_first_batch(runs):
    """What stands beside each array is the length of ∂L/∂W, here by differences of the loss that eval tells."""
    net = Predictor.read(runs / "regression/best.npz")
    data = tables.load(
        replace(net.config.data, train="regression.csv"), net.config.preprocess, fitted=(net.encoder, net.target)
    )
    found = report.gather(net, data, replace(net.config.data, train="regression.csv"))
    trial = Trial(
        Prepared(
            net.config,
            data,
            net.metrics,
            net.head,
            net.network,
            Updater(net.config.optimizer, net.network.layout),
            32,
            1,
        ),
        (net.nets[0].θ, net.nets[0].q),
    )
    value, layout = trial.value(), net.network.layout
    by_hand = {}
    for name, view in layout.views(trial.θ).items():
        slopes = []
        for i in np.ndindex(view.shape):
            at = view[i]
            view[i] = at + 1e-5
            above = value().sum()
            view[i] = at - 1e-5
            slopes.append((above - value().sum()) / 2e-5)
            view[i] = at
        by_hand[name] = np.sqrt(np.square(slopes).sum())

    best = next(each for each in found.moments if each.when == f"epoch {net.nets[0].epoch}")
    assert best.slopes == pytest.approx(by_hand, rel=1e-5)
    assert best.lengths == {w.name: pytest.approx(np.linalg.norm(w.values), rel=1e-5) for w in found.weights}


def test_weights_are_told_from_the_start_to_the_last_epoch(trained, monkeypatch):
    """At the start they are as drawn from the seed, then as in best.npz and last.npz; layer by layer."""
    monkeypatch.chdir(trained)
    words = ["data.test=0.2", "training.epochs=6", "training.early_stopping.patience=6"]
    words += ["optimizer.lr=0.3", "name=moving", "-o", "moved", "-q"]
    assert main(["train", "runs/regression/config.yaml", *words]) == 0
    best, last = (Predictor.read(Path("moved/moving") / name) for name in ("best.npz", "last.npz"))
    (epoch,) = {net.epoch for net in best.nets}
    assert epoch < 6

    assert main(["report", "moved/moving", "-q"]) == 0
    page = Path("moved/moving/report.html").read_text(encoding="utf-8")
    row = re.search(r'<th scope="row">W1</th>((?:<td[^>]*>[^<]*</td>){6})', page.split("How long each array is")[-1])
    lengths = [float(cell) for cell in re.findall(r">([^<]+)</td>", row[1])[:3]]

    assert all(
        f"‖{what}‖, {when}" in page for what in ("θ", "gradient") for when in ("start", f"epoch {epoch}", "epoch 6")
    )
    told = [np.linalg.norm(net.network.layout.views(net.nets[0].θ)["W1"]) for net in (best, last)]
    assert lengths[1:] == [pytest.approx(each, rel=5e-3) for each in told]
    n_out, _ = best.network.layout.views(best.nets[0].θ)["W1"].shape
    assert lengths[0] == pytest.approx(np.sqrt(2 * n_out), rel=0.25)  # he_normal: variance 2 / n_in
    names = re.findall(r'<th scope="row">([Wb]\d)</th>', page.split("How long each array is")[-1])
    assert [name[1:] for name in names] == sorted(name[1:] for name in names)


def test_nets_of_folds_are_called_by_what_they_have_not_seen(trained, monkeypatch):
    """Each net of a run with folds has its line, with the fold that was kept from it."""
    monkeypatch.chdir(trained)
    words = ["cv=2", "data.validation=0", "data.test=0.2", "training.epochs=1", "name=folds", "-o", "moved", "-q"]
    assert main(["train", "runs/regression/config.yaml", *words]) == 0

    assert main(["report", "moved/folds", "-q"]) == 0
    page = Path("moved/folds/report.html").read_text()
    told = re.findall(r'<th scope="row">(net \d[^<]*)</th>', page)

    assert told == ["net 1, without fold 1", "net 2, without fold 2"]
    assert "fold 1 of 2" in Path("moved/folds/log.txt").read_text()
    assert "fold 1 of 2" not in page, "where the run was is nothing to notice"


def test_without_a_test_part_folds_are_judged_by_the_nets_that_have_not_seen_a_row(tmp_path, monkeypatch):
    """Predictions and worst rows, and each net by its own fold: the figures are those of metrics.json."""
    monkeypatch.chdir(tmp_path)
    run = train("binary", n=60, data={"validation": 0, "test": 0}, cv=3, calibration="temperature")
    scores = json.loads((run / "metrics.json").read_text())

    page = Path(api.report(run)["report"]).read_text(encoding="utf-8")

    assert "On 60 rows of validation that it has not learnt from" in page
    cells = [int(cell) for cell in re.findall(r'style="--k:\d+">(\d+)</td>', page)]
    assert sum(cells) == 60
    assert (cells[0] + cells[3]) / 60 == pytest.approx(scores["validation"]["accuracy"]["value"])
    assert "The 10 rows of validation that are most wrong" in page
    nets = page.partition('<section id="nets"')[2].partition("</section>")[0]
    lines = re.findall(r'<th scope="row">net \d[^<]*</th>(.*?)</tr>', nets)
    told = [float(re.findall(r">([\d.]+)</td>", line)[1]) for line in lines]
    assert told == [pytest.approx(fold["accuracy"]["value"], abs=6e-4) for fold in scores["folds"]]
    assert 'id="importance"' not in page


def test_what_a_refitted_net_is_worth_is_on_the_page(tmp_path, monkeypatch):
    """Its own score on test stands beside that of the net before, which the other scores are of."""
    monkeypatch.chdir(tmp_path)
    run = train("regression", refit=True)
    loss = api.evaluate(run)["rmse"]["value"]

    page = Path(api.report(run)["report"]).read_text(encoding="utf-8")

    row = page.partition('<th scope="row">rmse')[2].partition("</tr>")[0]
    assert row.rpartition('<td class="n">')[2].startswith(f"{loss:.3g}"[:5])
    assert "test, refitted" in page
    assert "all below is of that net" in page


def test_the_curves_of_a_class_are_those_counted_by_hand():
    """Four rows: each threshold catches so many of the class and so many others; equal p are one threshold."""
    found = sides(np.array([True, False, True, False]), np.array([0.9, 0.5, 0.5, 0.1]), np.ones(4))

    assert found.caught.tolist() == [0, 0.5, 1, 1]
    assert found.alarms.tolist() == [0, 0, 0.5, 1]
    assert found.precision.tolist() == [1, 1, 2 / 3, 0.5]
    assert found.area == 0.875
    assert found.average_precision == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert sides(np.array([True, True]), np.array([0.1, 0.2]), np.ones(2)) is None


def test_rows_are_counted_by_weight_in_confusions_and_bins():
    """A row of weight 2 counts twice."""
    p = np.array([[0.8, 0.2], [0.3, 0.7], [0.6, 0.4]])
    w = np.array([2.0, 1.0, 1.0])
    bins = calibration(np.array([0.2, 0.2, 0.8, 0.8]), np.array([0, 1, 1, 1]), np.array([1.0, 1, 1, 3]), bins=2)

    assert confusion(np.array([0, 1, 1]), p.argmax(axis=1), w, 2).tolist() == [[2, 0], [1, 1]]
    assert bins.said.tolist() == [0.2, pytest.approx(0.8)]
    assert bins.true.tolist() == [0.5, 1.0]
    assert bins.error == pytest.approx((0.3 * 2 + 0.2 * 4) / 6)
    assert histogram(np.array([1.0, 1.0, 2.0, np.nan]), np.array([1.0, 2, 1, 1]), 2)[1].tolist() == [3, 1]


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3.2, 17), (0.001, 0.0012), (1e6, 3e6), (-1e-9, 1e-9)])
def test_axes_have_a_few_round_numbers(low, high):
    """Three to eleven ticks inside the axis, each one, two or five times a power of ten apart."""
    ticks = Axis("x", low, high).ticks()
    step = np.diff(ticks)

    assert 3 <= len(ticks) <= 11
    assert low <= ticks[0] + 1e-15
    assert ticks[-1] <= high * (1 + 1e-12) + 1e-15
    assert f"{step[0]:.0e}"[0] in "125"
    assert np.allclose(step, step[0])


def test_a_line_goes_where_its_numbers_are():
    """Left is the least x, the top the greatest y; a number that is none interrupts the line; factors are equal."""
    plot = Picture("p", "about", Axis("x", 0, 4), Axis("y", 1, 100, log=True))

    plot.line([0, 2, 3, 4], [1, 10, np.nan, 100])
    drawn = plot.svg("k")

    start, middle = re.search(r'd="M([\d.]+ [\d.]+)L([\d.]+ [\d.]+)"', drawn).groups()
    assert start == f"{LEFT:.1f} {HEIGHT - 40:.1f}"
    assert middle == f"{(LEFT + WIDTH - 12) / 2:.1f} {(HEIGHT - 40 + 10) / 2:.1f}"
    assert 'cx="368.0" cy="10.0"' in drawn
