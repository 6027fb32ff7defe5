"""The commands from end to end on a small table: train, eval, predict, inspect, init, and being stopped in between."""

import csv
import gzip
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import fcnet
from fcnet import config, data
from fcnet.config.recipes import Facts
from fcnet.reports.init import initial_mapping

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(fcnet.__file__).parents[1])}


def table(n=90):
    """Three clouds of points, with a category and a gap."""
    rng = np.random.default_rng(0)
    kind = np.arange(n) % 3
    rows = [
        [f"{kind[i] * 3 + rng.normal():.4f}", f"{rng.normal():.4f}" if i != 7 else "", "north" if i % 2 else "=south"]
        for i in range(n)
    ]
    names = ["=iris", "rose", "tulip"]
    return "size,age,place,flower\n" + "".join(
        ",".join([*row, names[k]]) + "\n" for row, k in zip(rows, kind, strict=True)
    )


SETTINGS = ("recipe=plain", "training.epochs=30", "network.layers=[8]", "optimizer.lr=0.02", "threads=1")


@pytest.fixture
def flowers(call, tmp_path):
    (tmp_path / "flowers.csv").write_text(table())
    return tmp_path


@pytest.fixture
def trained(call, flowers):
    code, out, err = call("train", "flowers.csv", "--target", "flower", *SETTINGS)
    assert code == 0, err
    return out


def test_a_beginner_trains_scores_and_predicts_without_an_option(call, trained, flowers):
    """Train on a table, then `eval` and `predict` find the run, the data and the name of the output by themselves."""
    code_eval, scores, said = call("eval")
    code_predict, written, _ = call("predict", "flowers.csv")

    assert (code_eval, code_predict) == (0, 0)
    assert said == "notice: the newest complete run is runs/flowers\n"
    assert re.match(r"flowers  runs/flowers/best\.npz · epoch \d+ · flowers\.csv\nscores +14 rows +test", scores)
    assert written.startswith(
        "files    flowers.predictions.csv · 90 rows        next: fcnet eval runs/flowers/best.npz"
    )
    with open(flowers / "flowers.predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["prediction", "p(=iris)", "p(rose)", "p(tulip)"]
    assert len(rows) == 90
    assert sum(row["prediction"] == ("'=iris", "rose", "tulip")[i % 3] for i, row in enumerate(rows)) > 70


def test_the_summary_names_data_net_scores_and_files(trained):
    """The end of training shows what was trained on what, how well, and where it lies."""
    lines = trained.splitlines()

    assert lines[0].startswith("flowers  90 rows · 2 numbers, 1 category → 3 classes (flower) · ")
    assert re.match(r"net      4 → 8 relu → 3 · 67 parameters · adam 0\.02 · numpy, 1 thread", lines[1])
    assert re.match(r"best     epoch \d+ of 30 +validation    test    guessing the majority", lines[2])
    assert lines[-1] == "files    runs/flowers/best.npz …       next: fcnet predict YOUR.csv"


def test_predictions_through_pipes_equal_those_in_files(call, trained, flowers):
    """`zcat … | fcnet predict -` gives the bytes that `fcnet predict FILE` writes, with kept columns in front."""
    (flowers / "f.csv.gz").write_bytes(gzip.compress((flowers / "flowers.csv").read_bytes()))

    code, _, _ = call("predict", "f.csv.gz", "--keep", "place", "--keep", "age", "-c", "runs/flowers")
    piped = subprocess.run(
        [sys.executable, "-m", "fcnet", "predict", "-", "--keep", "place", "--keep", "age", "-q"],
        input=(flowers / "flowers.csv").read_bytes(),
        capture_output=True,
        check=False,
        env=ENVIRONMENT,
    )

    assert (code, piped.returncode, piped.stderr) == (0, 0, b"")
    assert piped.stdout == (flowers / "f.predictions.csv").read_bytes()
    assert piped.stdout.splitlines()[1].startswith(b"'=south,-0.1321,")


def test_json_results_are_strict_objects(call, trained):
    """eval, predict and inspect print one JSON object each, with what a script needs."""
    results = [json.loads(call(*line)[1]) for line in (("eval", "--json"), ("predict", "flowers.csv", "--json"))]
    header = json.loads(call("inspect", "--json")[1])

    assert results[0]["part"] == "test"
    assert set(results[0]["accuracy"]) == {"value", "trivial", "low", "high"}
    assert (results[1]["rows"], results[1]["output"]) == (90, "flowers.predictions.csv")
    assert header["classes"] == ["=iris", "rose", "tulip"]


def test_inspect_shows_net_columns_classes_and_arrays(call, trained):
    """`inspect` tells what a checkpoint is, without its data."""
    code, out, _ = call("inspect", "runs/flowers/last.npz")

    assert code == 0
    assert re.search(r"^net +4 → 8 relu → 3 · 67 parameters · float32$", out, re.MULTILINE)
    assert re.search(r"^classes +=iris, rose, tulip$", out, re.MULTILINE)
    assert re.search(r"^columns +size, age, place$", out, re.MULTILINE)
    assert re.search(r"^target +3 classes \(flower\)$", out, re.MULTILINE)
    assert re.search(r"^ +W1 +8 × 4 +float32 +128 bytes$", out, re.MULTILINE)
    assert re.search(r"^encoded +standard: \(x − mean\) / scale \(\d column", out, re.MULTILINE)
    robust = call(
        "train", "runs/flowers/config.yaml", "preprocess.numeric=robust", "training.epochs=1", "name=robust", "-q"
    )
    assert robust[0] == 0, robust
    assert re.search(r"^encoded +robust: .+\)² ?\)", call("inspect", "runs/robust")[1], re.MULTILINE)


@pytest.mark.parametrize("command", ["eval", "inspect", "predict"])
def test_a_file_that_is_no_checkpoint_is_5(call, flowers, command):
    """A table, a folder without a net, or nothing at all in the place of a checkpoint is exit 5, in one line."""
    for wrong in ("flowers.csv", ".", "nowhere.npz"):
        arguments = ["flowers.csv", "-c", wrong] if command == "predict" else [wrong]

        code, out, err = call(command, *arguments)

        assert (code, out) == (5, ""), err
        assert err.startswith("fcnet: ")
        assert err.count("\n") == 1


def test_without_a_run_the_user_is_told_to_train(call, flowers):
    """`predict` and `eval` where nothing was trained say what to do."""
    for line in (("eval",), ("predict", "flowers.csv"), ("inspect",)):
        code, _, err = call(*line)

        assert code == 5
        assert "fcnet train" in err


def test_an_output_that_is_the_input_is_refused(call, trained, flowers):
    """`predict -o` on its own input or on the checkpoint is wrong usage, and nothing is overwritten."""
    before = (flowers / "flowers.csv").read_bytes()

    assert call("predict", "flowers.csv", "-o", "flowers.csv")[0] == 2
    assert call("predict", "flowers.csv", "-o", "runs")[0] == 2
    assert (flowers / "flowers.csv").read_bytes() == before


def test_an_output_that_is_there_is_replaced_with_a_notice(call, trained, flowers):
    """Predictions take the place of an older file, and say so."""
    (flowers / "out.csv").write_text("old")

    code, _, err = call("predict", "flowers.csv", "-o", "out.csv")

    assert code == 0
    assert "notice: out.csv is replaced\n" in err
    assert (flowers / "out.csv").read_text().startswith("prediction,")


@pytest.mark.parametrize(
    ("given", "said"),
    [("80", "; as a share of a hundred write 0.8"), ("1", ", such as 0.9"), ("-1", ", such as 0.9"), ("nan", ", such")],
)
def test_a_coverage_that_is_no_share_is_told_what_to_write(call, trained, flowers, given, said):
    """What is no share, or one of a hundred, is wrong usage that says what a share is, and nothing is written."""
    code, _, err = call("predict", "flowers.csv", f"--coverage={given}")

    assert code == 2
    assert f"--coverage {given}: it is a share between 0 and 1{said}" in err
    assert not (flowers / "flowers.predictions.csv").exists()


def test_predict_cannot_give_json_and_predictions_on_one_stream(call, trained):
    """--json with predictions on stdout is refused."""
    code, out, err = call("predict", "flowers.csv", "-o", "-", "--json")

    assert (code, out) == (2, "")
    assert "name a file with -o" in err


@pytest.mark.parametrize(
    ("name", "text", "target"),
    [
        ("flowers.csv", table(), ["flower"]),
        ("a b.csv", "x;y\n1,5;a\n2,5;b\n" * 20, ["y"]),
        ("more.csv", "a,b,c\n" + "".join(f"{i % 7},{i % 2},{i % 3 == 0:d}\n" for i in range(60)), ["b", "c"]),
    ],
)
def test_the_config_of_init_loads_and_means_what_train_does_with_the_table(call, tmp_path, name, text, target):
    """`init` writes a config that loads without complaint and reads the same data in the same way."""
    (tmp_path / name).write_text(text)

    code, out, err = call(
        "init", name, *[part for column in target for part in ("--target", column)], "-o", "sub/c.yaml"
    )

    assert code == 0, err
    assert out == "files    sub/c.yaml        next: fcnet train sub/c.yaml\n"
    written = config.load("sub/c.yaml")
    direct = config.from_mapping(initial_mapping(Path(name), target))
    found = data.load(written.data, written.preprocess)
    differing = _differing(direct, written, found)
    assert differing <= {"data.train", "data.task", "data.decimal", "name"}
    assert written.data.task == found.task
    assert not found.notices or not any(" is left out" in notice for notice in found.notices)
    assert "$schema=" in Path("sub/c.yaml").read_text().splitlines()[0]


def _differing(direct, written, found):
    """The keys in which two configs differ, with what their recipes make of the data."""
    both = (config.to_mapping(config.settled(each, Facts.of(found))) for each in (direct, written))
    return {key for key, _, _ in config.differences(*both)}


def test_init_replaces_a_config_only_when_asked(call, flowers):
    """A config that is there stays unless --overwrite is given; - writes to stdout."""
    first = call("init", "flowers.csv", "--target", "flower")[0]
    (flowers / "config.yaml").write_text("mine")

    again = call("init", "flowers.csv", "--target", "flower")
    kept = (flowers / "config.yaml").read_text()
    forced = call("init", "flowers.csv", "--target", "flower", "--overwrite")[0]
    shown = call("init", "flowers.csv", "--target", "flower", "-o", "-")

    assert (first, again[0], forced, shown[0]) == (0, 7, 0, 0)
    assert kept == "mine"
    assert "--overwrite" in again[2]
    assert shown[1] == (flowers / "config.yaml").read_text()


def test_init_looks_at_what_it_is_given_before_what_is_there(call, flowers):
    """A config that is there is not what is wrong where the table, the target or the name of the output is."""
    (flowers / "config.yaml").write_text("mine")
    (flowers / "folder.yaml").mkdir()

    codes = {
        "nowhere.csv --target y": 4,
        "flowers.csv": 2,
        "flowers.csv --target nothing": 3,
        "flowers.csv --target flower -o folder.yaml": 2,
        "flowers.csv --target flower -o .": 2,
        "flowers.csv --target flower -o c.txt": 2,
        "flowers.csv --target flower": 7,
    }
    found = {line: call("init", *line.split()) for line in codes}

    assert {line: code for line, (code, _, _) in found.items()} == codes
    assert "the output is a folder, not a file" in found["flowers.csv --target flower -o ."][2]
    assert "end the name in .yaml or .yml" in found["flowers.csv --target flower -o c.txt"][2]
    assert (flowers / "config.yaml").read_text() == "mine"


def test_the_cure_that_init_names_is_a_setting_that_it_takes(call, tmp_path):
    """What only a setting can cure is written behind the same command, and into the config."""
    (tmp_path / "t.csv").write_text("".join(f"{i},{i % 2}\n" for i in range(60)))

    code, _, err = call("init", "t.csv", "--target", "-1")

    assert code == 4
    assert "data.header=false" in err
    assert call("init", "t.csv", "--target", "-1", "data.header=false")[0] == 0
    assert config.load("config.yaml").data.header is False


def test_a_table_alone_is_trained_with_the_default_quality(call, flowers):
    """`train TABLE` and the config of `init` have quality: default, and --quality chooses another."""
    quick = ["training.epochs=2", "backend=numpy", "threads=1", "-q"]

    assert call("train", "flowers.csv", "--target", "flower", *quick)[0] == 0
    assert call("train", "flowers.csv", "--target", "flower", "--quality", "fast", *quick)[0] == 0
    assert call("init", "flowers.csv", "--target", "flower", "-q")[0] == 0

    found = [config.load(name) for name in ("runs/flowers/config.yaml", "runs/flowers-2/config.yaml", "config.yaml")]
    assert [each.quality for each in found] == ["default", "fast", "default"]
    assert {each.recipe for each in found} == {"realmlp"}
    code, _, err = call("train", "flowers.csv", "--target", "flower", "--quality", "superb")
    assert (code, "quality" in err, "default or best" in err) == (3, True, True)


def test_what_init_comments_out_is_what_the_quality_gives(call, flowers):
    """Taken in, the lines that a config leaves to the quality change nothing; each can be changed where it stands."""
    assert call("init", "flowers.csv", "--target", "flower", "optimizer.lr=0.01", "-q")[0] == 0
    text = Path("config.yaml").read_text()
    head, keys = text.split("\ndata:\n")
    data_lines, *rest = keys.split("\n\n")
    taken_in = "\n\n".join(re.sub("^( *)# ", r"\1", part, flags=re.MULTILINE) for part in rest)
    Path("all.yaml").write_text(f"{head}\ndata:\n{data_lines}\n\n{taken_in}")

    short, whole = config.load("config.yaml"), config.load("all.yaml")

    assert text.count("# training:") == text.count("\noptimizer:") == 1
    facts = Facts.of(data.load(short.data, short.preprocess))
    assert config.settled(whole, facts) == config.settled(short, facts)
    assert whole.training.epochs == config.settled(short, facts).training.epochs


SET = [
    ["optimizer=sgd", "optimizer.momentum=0.9", "schedule=cosine"],
    ['data.class_weight={rose: 2, "=iris": 1.5}', "data.split.seed=4", "data.missing=[x, no]"],
    ["data.class_weight=balanced", "data.validation=0", "training.clip_norm=1"],
    [
        "training.early_stopping=null",
        "training.checkpoint={minutes: 5}",
        "loss={name: cross_entropy, label_smoothing: 0.1}",
    ],
    ["training.early_stopping.metric=val_accuracy", "metrics=[accuracy, f1_macro]", "training.epochs=7"],
    ["network={layers: [8, {units: 4, dropout: 0.5}], activation: {name: elu, alpha: 2}}", "seed=3", "name=other"],
    [
        "data.target=[size, age]",
        "data.missing_target=drop",
        "preprocess.target=none",
        "output=elsewhere",
        "dtype=float64",
    ],
    ["data.test=flowers.csv", "threads=1", "backend=numpy", "data.categorical=[age]"],
]


@pytest.mark.parametrize("words", SET)
def test_init_writes_what_is_set(call, flowers, words):
    """The config of `init TABLE KEY=VALUE …` is the one that `train TABLE KEY=VALUE …` trains with."""
    target = [] if any("data.target" in word for word in words) else ["--target", "flower"]

    code, _, err = call("init", "flowers.csv", *target, *words, "-o", "sub/c.yaml")

    assert code == 0, err
    direct = config.from_mapping(initial_mapping(Path("flowers.csv"), target[1:]), words)
    written = config.load("sub/c.yaml")
    differing = _differing(direct, written, data.load(written.data, written.preprocess))
    assert differing <= {"data.train", "data.task", "data.test", "name"}
    assert config.load("sub/c.yaml").output == direct.output


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["optimizer.lrr=1"], 3, "command line: optimizer.lrr: unknown key; did you mean lr?"),
        (["optimizer.lr=-1"], 3, "command line: optimizer.lr: -1, expected a number > 0"),
        (["loss=huber"], 3, "command line: loss: huber does not fit data.task: multiclass"),
        (["data.class_weight={no: 2}"], 3, 'command line: data.class_weight: no class "no"'),
        (["nonsense"], 2, "expected KEY=VALUE"),
    ],
)
def test_init_refuses_what_train_would_refuse(call, flowers, words, code, said):
    """Settings are checked as those of train are, and nothing is written."""
    found, _, err = call("init", "flowers.csv", "--target", "flower", *words)

    assert (found, said in err) == (code, True), err
    assert not (flowers / "config.yaml").exists()


def test_init_writes_commas_as_what_they_must_be(call, tmp_path):
    """A column of 0,125 and the like is read as decimals, whatever else it could be."""
    (tmp_path / "t.csv").write_text("x;z;y\n" + "".join(f"1,{i:03};0,{i:03};{'ab'[i % 2]}\n" for i in range(60)))

    assert call("init", "t.csv", "--target", "y")[0] == 0
    written = config.load("config.yaml").data
    assert (written.decimal, written.thousands) == (",", "")


def test_a_pipe_gets_nothing_where_nothing_can_be_predicted(call, trained):
    """What is known before the first row leaves stdout empty, for whoever reads it."""
    piped = subprocess.run(
        [sys.executable, "-m", "fcnet", "predict", "-", "-q"],
        input=b"C,a\nr,1\n",
        capture_output=True,
        check=False,
        env=ENVIRONMENT,
    )

    assert (piped.returncode, piped.stdout) == (4, b"")
    assert b"no column" in piped.stderr


def test_cells_that_got_an_apostrophe_are_counted(call, trained, flowers):
    """Text that a spreadsheet would run is changed in CSV, which a notice says; in Parquet it is not."""
    rows = (flowers / "flowers.csv").read_text().splitlines()
    (flowers / "one.csv").write_text("\n".join([rows[0], rows[2], rows[3]]) + "\n")

    whole = call("predict", "flowers.csv", "--keep", "place")[2]
    one = call("predict", "one.csv", "--keep", "place")[2]
    parquet = call("predict", "flowers.csv", "--keep", "place", "-o", "p.parquet")[2] if find_spec("polars") else ""

    told = (flowers / "flowers.predictions.csv").read_text()
    labels = len(re.findall(r"^[^,]*,'=iris,", told, re.MULTILINE))
    end = "like a formula and got an apostrophe; write .parquet for the exact text\n"
    assert f'notice: 45 cells of "place" start {end}' in whole
    assert f'notice: {labels} cells of "prediction" start {end}' in whole
    assert f'notice: 1 cell of "place" starts {end}' in one
    assert "apostrophe" not in parquet


def test_eval_names_its_data_from_here(call, trained):
    """The file that was scored is named as one would name it here, and not by a detour through the run."""
    scored = json.loads(call("eval", "--json")[1])

    assert scored["data"] == "flowers.csv"
    assert fcnet.load("runs/flowers").evaluate()["data"] == "flowers.csv"


@pytest.mark.parametrize("command", ["init", "train"])
def test_a_table_without_a_target_lists_its_columns(call, flowers, command):
    """Who forgets --target is told the columns to choose from."""
    code, _, err = call(command, "flowers.csv")

    assert code == 2
    assert '"size", "age", "place", "flower"' in err
    assert err.startswith("fcnet: --target")


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (("train", "nowhere.yaml"), 3),
        (("train", "nowhere.csv", "--target", "y"), 4),
        (("train", "flowers.csv", "--target", "nothing"), 3),
        (("train", "flowers.csv", "--target", "flower", "network.layers=[-1]"), 3),
        (("train", "--resume=nowhere"), 5),
        (("init", "nowhere.csv", "--target", "y"), 4),
        (("predict", "nowhere.csv", "-c", "runs/flowers"), 4),
        (("eval", "runs/flowers", "--data", "nowhere.csv"), 4),
        (("predict", "flowers.csv", "--keep", "nothing"), 2),
    ],
)
def test_what_does_not_exist_has_its_code(call, trained, line, code):
    """A missing config is 3, missing data are 4, a missing checkpoint is 5; a column that is not there is named."""
    found, out, err = call(*line)

    assert (found, out) == (code, ""), err
    assert all(text.startswith("fcnet: ") for text in err.splitlines())


def test_the_schema_is_json_and_the_table_is_for_people(call):
    """`schema` prints the JSON Schema, `schema --table` every key with its meaning."""
    code, out, _ = call("schema")
    code_table, text, _ = call("schema", "--table")

    assert (code, code_table) == (0, 0)
    assert "data" in json.loads(out)["properties"]
    assert re.search(r"^optimizer\.lr", text, re.MULTILINE)


def started(folder, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "fcnet", *arguments],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )


def wait_for(child, path):
    while not path.exists():
        assert child.poll() is None, child.communicate()
        time.sleep(0.02)


def test_a_stopped_training_goes_on_with_the_line_it_printed(call, flowers):
    """A signal while the net trains saves, ends with its code, and prints the command that goes on to the end."""
    line = ["train", "flowers.csv", "--target", "flower", *SETTINGS[1:]]
    child = started(flowers, *line, "training.epochs=1000000", "training.early_stopping=null")
    wait_for(child, flowers / "runs/flowers/last.npz")

    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=30)

    assert (child.returncode, out) == (130, "")
    assert err.splitlines()[-2].startswith("fcnet: stopped ")
    again = err.splitlines()[-1]
    assert again.startswith("next: fcnet train flowers.csv --target flower ")
    epochs = json.loads(call("inspect", "runs/flowers/last.npz", "--json")[1])["epoch"] + 3
    resumed = again.removeprefix("next: fcnet ").replace("1000000", str(epochs))
    resumed = subprocess.run(
        f"{sys.executable} -m fcnet {resumed}",
        shell=True,
        cwd=flowers,
        capture_output=True,
        text=True,
        check=False,
        env=ENVIRONMENT,
    )
    assert resumed.returncode == 0, resumed.stderr
    assert f"of {epochs}" in resumed.stdout


def test_r9_the_time_limit_stops_with_75_and_a_checkpoint(call, flowers):
    """--max-time ends a long run cleanly; the same command with --resume may go on."""
    line = ("train", "flowers.csv", "--target", "flower", *SETTINGS[1:], "training.epochs=1000000")

    code, out, err = call(*line, "training.early_stopping=null", "--max-time", "0.5s")

    assert (code, out) == (75, "")
    assert "time limit" in err
    assert (flowers / "runs/flowers/last.npz").exists()


def test_f17_a_stopped_prediction_leaves_no_file(trained, flowers):
    """A signal while `predict` waits for its input ends it at once, and no output is left under any name."""
    before = set(flowers.iterdir())
    child = started(flowers, "predict", "-", "-o", "out.csv")
    child.stdin.write(table(3))
    child.stdin.flush()
    while len(set(flowers.iterdir()) - before) == 0 and child.poll() is None:
        time.sleep(0.02)

    child.send_signal(signal.SIGTERM)
    found = child.wait(timeout=20)  # its input is still open
    _, err = child.communicate()

    assert found == 75, err
    assert set(flowers.iterdir()) == before


def test_a_checkpoint_may_stand_where_people_put_it(call, trained, flowers):
    """`predict RUN TABLE`, in any order, and `eval -c RUN` are what `predict TABLE -c RUN` and `eval RUN` are."""
    expected = call("predict", "flowers.csv", "-c", "runs/flowers", "-o", "-")[1]

    for words in (("runs/flowers", "flowers.csv"), ("flowers.csv", "runs/flowers/best.npz")):
        assert call("predict", *words, "-o", "-")[:2] == (0, expected)
    assert call("eval", "-c", "runs/flowers") == call("eval", "runs/flowers")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("predict", "a.csv", "b.csv"), "fcnet predict TABLE -c RUN"),
        (("predict", "a.npz", "b.npz"), "fcnet predict TABLE -c RUN"),
        (("predict", "a.csv", "b.npz", "-c", "c"), "fcnet predict TABLE -c RUN"),
        (("eval", "runs/a", "b.csv"), "fcnet eval RUN --data TABLE"),
        (("eval", "runs/a", "-c", "runs/b"), "fcnet eval RUN --data TABLE"),
        (("train", "flowers.csv", "flower"), "did you mean --target flower?"),
    ],
)
def test_where_it_is_in_doubt_the_right_place_is_said(call, flowers, words, said):
    """Two tables, or two checkpoints, are wrong usage, with the form that is meant."""
    code, out, err = call(*words)

    assert (code, out) == (2, "")
    assert said in err


def test_the_key_for_an_option_works_as_it_is_told(call, flowers):
    """What the error says to write can be written."""
    _, _, err = call("train", "flowers.csv", "--target", "flower", "--epochs", "2", "--hidden-layers", "8", "4")
    words = shlex.split(err.partition("write ")[2].partition(";")[0])

    code, out, _ = call("train", "flowers.csv", "--target", "flower", *words, "recipe=plain")

    assert code == 0
    assert "→ 8 relu → 4 relu →" in out
    assert "of 2 " in out


@pytest.mark.parametrize(
    "rows",
    [["0,0,0", "0,1,1", "1,0,1", "1,1,0"], ["0,0,u", "1,1,v"], ["0.5,1,1.25", "0.25,2,7.5"]],
    ids=["xor", "two-classes", "two-numbers"],
)
@pytest.mark.parametrize("from_config", [False, True], ids=["table", "config"])
def test_the_cure_of_a_table_too_small_for_its_parts_trains(call, tmp_path, rows, from_config):
    """What the error says to write is written behind the same command, and all rows are trained on."""
    (tmp_path / "few.csv").write_text("\n".join(["a,b,y", *rows, ""]))
    (tmp_path / "few.yaml").write_text("data: {train: few.csv, target: y, validation: 0.3, test: 0.3}\n")
    words = ["train", "few.yaml"] if from_config else ["train", "few.csv", "--target", "y"]
    code, _, err = call(*words)
    assert code == 4

    cure = err.strip().partition("train on all of them: ")[2].split()
    done, out, _ = call(*words, *cure, "training.epochs=3")

    assert cure == ["data.validation=0", "data.test=0"]
    assert done == 0
    assert f"{len(rows)} train\n" in out
