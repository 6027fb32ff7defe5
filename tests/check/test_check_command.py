"""`fcnet check`: everything short of training, on the terminal and as JSON."""

import json
import math

import pytest
from check_cases import run, settings, write_table, wrong_activation

from fcnet import extras
from fcnet.backends import choice
from fcnet.reports import check as report
from fcnet.training.prepare import Prepared


@pytest.fixture
def plants(tmp_path, monkeypatch):
    """A config beside its table, in the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)
    write_table(tmp_path)
    (tmp_path / "plants.yaml").write_text(
        "data: {train: plants.csv, target: flower, test: 0.2}\n"
        "network: {layers: [{units: 6, dropout: 0.1}, 4], activation: tanh}\nthreads: 1\n"
    )
    return tmp_path


def test_the_report_has_data_config_net_memory_disk_and_gradient(plants, capsys):
    """All that will happen is shown before it happens, and nothing is written."""
    before = sorted(plants.iterdir())

    code, out, err = run(capsys, "check", "plants.yaml")

    assert code == 0
    assert err == (
        'notice: column "name" is left out: text with 90 different values in 90 cells; list it under data.categorical '
        "to keep it\n"
        'notice: target "flower": text, so 3 classes; set data.task if that is not meant\n'
        'notice: column "place" says the same as the target "flower" in every row; list it under data.exclude if it is '
        "not known where the target is not\n"
        'notice: missing cells: "age" 1\n'
    )
    lines = out.splitlines()
    assert lines[:2] == [
        "plants   90 rows · multiclass: 3 classes (flower)",
        "         58 train, 14 validation, 18 test",
    ]
    assert lines[2].startswith("columns  size   number    ")
    assert lines[4] == "         place  category  3 levels: east, north, south"
    assert lines[8:12] == [
        "without  name",
        "config   cross_entropy · adam 1e-3 · constant · batches of 32",
        "         at most 100 epochs of 2 steps · best by val_loss, patience 20 · float32",
        "         numpy, 1 thread",
    ]
    assert lines[12:18] == [
        "net      layer  in  out               starts          parameters",
        "         1       9    6  tanh         glorot_uniform          60",
        "                 6    6  dropout 0.1                           0",
        "         2       6    4  tanh         glorot_uniform          28",
        "         3       4    3  identity     glorot_uniform          15",
        "                                      together               103",
    ]
    assert lines[18].startswith("memory   data ")
    assert any(line.startswith("disk     best.npz ") for line in lines)
    assert any(line.startswith("gradient right: the largest relative error is ") for line in lines)
    assert lines[-1] == "next     fcnet train plants.yaml"
    assert sorted(plants.iterdir()) == before


def test_it_stays_within_a_terminal_of_80_columns(plants, capsys, monkeypatch):
    """On a narrow terminal no line of the table of layers, columns and checks is cut."""
    monkeypatch.setenv("COLUMNS", "80")

    _, out, _ = run(capsys, "check", "plants.yaml", "-q")

    assert max(len(line) for line in out.splitlines()) <= 80
    assert "         at most 100 epochs of 2 steps · best by val_loss, patience 20 · float32" in out


def test_overrides_reach_the_report_and_the_next_command(plants, capsys):
    """KEY=VALUE changes what is examined, and the suggestion trains with the same."""
    code, out, _ = run(capsys, "check", "plants.yaml", "network.layers=[16]", "optimizer=sgd", "-q")

    assert code == 0
    assert "1       9   16  tanh" in out
    assert out.endswith("next     fcnet train plants.yaml 'network.layers=[16]' optimizer=sgd\n")


def test_verbose_shows_the_whole_config(plants, capsys):
    """-v adds the config with every `auto` settled, as it would lie in the run folder."""
    _, out, _ = run(capsys, "check", "plants.yaml", "-q", "-v")

    assert "\n           batch_size: 32\n" in out
    assert "loss: {name: cross_entropy, label_smoothing: 0.0}" in out
    assert "\n         backend: numpy\n" in out


def test_json_has_everything(plants, capsys):
    """--json prints one object with the config, the data, the layers, the arithmetic and every check."""
    code, out, err = run(capsys, "check", "plants.yaml", "--json", "-q")
    found = json.loads(out)

    assert (code, err) == (0, "")
    assert found["config"]["training"]["batch_size"] == 32
    assert found["config"]["backend"] == "numpy"
    assert "auto" not in (found["config"][key] for key in found["config"])
    assert found["data"]["parts"] == {"train": 58, "validation": 14, "test": 18}
    assert found["data"]["left_out"] == ["name"]
    assert [c["type"] for c in found["data"]["columns"]] == [
        "number",
        "number",
        "category",
        "category",
        "number",
        "number",
    ]
    assert found["parameters"] == 103 == sum(layer["parameters"] for layer in found["layers"])
    assert found["memory"]["bytes"] == sum(part["bytes"] for part in found["memory"]["parts"])
    assert found["disk"]["free"] > 0
    assert found["gradient"]["passed"] is True
    assert {c["name"] for c in found["gradient"]["checks"]} == {"b1", "b2", "b3", "W1", "W2", "W3", "θ"}
    assert any("missing cells" in text for text in found["notices"])


def test_a_wrong_gradient_is_exit_1(plants, capsys, monkeypatch):
    """A mistake in a formula is reported with the tensors that it reaches, and is no success."""
    wrong_activation(monkeypatch)

    code, out, err = run(capsys, "check", "plants.yaml", "-q")

    assert code == 1
    assert "gradient WRONG: the largest relative error is 2e-03, and only 1e-06 is allowed" in out
    assert [word for word in ("W1 2e-03 WRONG", "W2 1e-03 WRONG", "W3 ") if word not in out] == []
    assert err.startswith("fcnet: the gradient of b1, b2, W1, W2, θ is wrong: for ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["nowhere.yaml"], 3, "nowhere.yaml: there is no such file"),
        (["plants.yaml", "data.train=nowhere.csv"], 4, "nowhere.csv: no such file"),
        (["plants.yaml", "loss=huber"], 3, "the task is multiclass"),
        (["plants.yaml", "network.layers=[1000000,1000000]"], 9, "needs 4.0 TB (weights) + "),
        (["plants.yaml", "data.validation=0", "training.early_stopping={metric: val_accuracy}"], 3, "early_stopping"),
        ([], 2, "Missing argument"),
    ],
)
def test_whatever_training_would_refuse_is_refused_here(plants, capsys, arguments, code, says):
    """Config, data and limits end with the exit codes that training gives them."""
    found, out, err = run(capsys, "check", *arguments)

    assert found == code
    assert out == ""
    assert says in err


def test_long_nets_and_tables_are_cut_unless_all_is_asked_for(tmp_path):
    """Of a deep net the first and last layers are shown, and -v shows all."""
    found = report.examine(settings(tmp_path, network={"layers": [4] * 40}))

    short = report.lines(found, "x", None, everything=False)
    long = report.lines(found, "x", None, everything=True)

    assert any("… (17 more, -v lists them)" in line for line in short)
    assert not any("more, -v lists them" in line for line in long)
    assert sum(" relu " in line for line in long) == 40


def test_help_opens_with_an_example(capsys):
    """--help begins with a command to paste."""
    code, out, _ = run(capsys, "check", "--help")

    assert code == 0
    assert out.startswith("Example:\n  fcnet check config.yaml\n")


def test_the_backend_is_the_one_that_training_would_take(plants, capsys, monkeypatch):
    """Where compiled kernels would pay and are missing, check says what training would; asked for, it is an error."""
    monkeypatch.setattr(choice, "WORTH", 0.0)
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    monkeypatch.setattr(extras, "_faults", {})

    auto = run(capsys, "check", "plants.yaml", "--json")
    asked = run(capsys, "check", "plants.yaml", "backend=numba")

    assert json.loads(auto[1])["config"]["backend"] == "numpy"
    assert "faster with: pip install 'fcnet[fast]'" in auto[2]
    assert (asked[0], "command line: backend: numba is not installed" in asked[2]) == (3, True)


@pytest.mark.parametrize("name", ["numpy", "numba"])
def test_check_bench_and_train_mean_the_same_by_auto(plants, capsys, monkeypatch, name):
    """One place decides what `backend: auto` is, so that bench times first what training takes."""
    pytest.importorskip("numba")
    monkeypatch.setattr(Prepared, "choose", lambda self, left=math.inf: (name, None))

    checked = json.loads(run(capsys, "check", "plants.yaml", "--json")[1])["config"]["backend"]
    timed = json.loads(run(capsys, "bench", "plants.yaml", "--json")[1])["backend"]
    trained = run(capsys, "train", "plants.yaml", "training.epochs=1")

    assert checked == name
    assert timed == name
    assert f"· {name}, " in trained[1]
