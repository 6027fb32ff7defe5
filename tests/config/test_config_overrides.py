"""KEY=VALUE on the command line means what the same line in the file would mean, and errors say that it stood there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fcnet.config import Config, load
from fcnet.errors import ConfigError, UsageError
from fcnet.nn.activations import LeakyRelu
from fcnet.optim.rules import Adam, Sgd

FILE = """\
data: {train: a.csv, target: y}
network: {layers: [8, {units: 4, dropout: 0.5}], activation: relu}
optimizer: sgd
training: {early_stopping: null, checkpoint: {epochs: 2}}
"""


def loaded(tmp_path: Path, *overrides: str) -> Config:
    file = tmp_path / "c.yaml"
    file.write_text(FILE)
    return load(file, overrides)


def test_an_override_reaches_into_layers_within_layers(tmp_path: Path) -> None:
    """A layer inside a block is changed, named or given its kind, by its place in the block."""
    block = "network.layers=[8, {name: residual, layers: [4, {name: residual, layers: [{name: pbld}, 8]}, 8]}]"

    config = loaded(
        tmp_path,
        block,
        "network.layers.1.layers.0.units=16",
        "network.layers.1.layers.1.layers.0.frequencies=5",
        "network.layers.1.layers.2=layer_norm",
    )

    outer = config.network.layers[1]
    assert (outer.layers[0].units, outer.layers[1].layers[0].frequencies) == (16, 5)
    assert [layer.name for layer in outer.layers] == ["dense", "residual", "layer_norm"]
    with pytest.raises(ConfigError, match=r"command line: network.layers.1.layers.1.layers.7: no such item"):
        loaded(tmp_path, block, "network.layers.1.layers.1.layers.7.units=3")


def test_an_override_replaces_one_value_and_keeps_the_rest(tmp_path: Path) -> None:
    """Dotted keys reach into sections, into bare names, into items of lists and into what is null or not there."""
    config = loaded(
        tmp_path,
        "seed=7",
        "optimizer.lr=1e-2",
        "network.layers.1.units=16",
        "network.layers.0.dropout=0.25",
        "network.activation.name=leaky_relu",
        "network.activation.slope=0.2",
        "training.early_stopping.patience=3",
        "schedule.warmup=0.1",
        "data.class_weight.no=2",
    )

    assert config.seed == 7
    assert config.optimizer == Sgd(lr=0.01)
    assert [(layer.units, layer.dropout) for layer in config.network.layers] == [(8, 0.25), (16, 0.5)]
    assert config.network.activation == LeakyRelu(slope=0.2)
    assert config.training.early_stopping is not None
    assert config.training.early_stopping.patience == 3
    assert (config.schedule.name, config.schedule.warmup) == ("constant", 0.1)
    assert config.data.class_weight == {"no": 2.0}
    assert config.data.train == str(tmp_path / "a.csv")


def test_an_override_replaces_whole_sections_and_lists(tmp_path: Path) -> None:
    """A bare name, a list or a mapping takes the place of what the file says there."""
    config = loaded(tmp_path, "optimizer=adam", "network.layers=[64,64]", "training={epochs: 3}")

    assert config.optimizer == Adam()
    assert [(layer.units, layer.dropout) for layer in config.network.layers] == [(64, None), (64, None)]
    assert config.training.epochs == 3
    assert config.training.checkpoint.epochs == 1
    assert config.training.early_stopping is not None


def test_the_last_override_of_a_key_wins(tmp_path: Path) -> None:
    """Overrides apply from left to right, so a later one sees what an earlier one left."""
    assert loaded(tmp_path, "seed=1", "seed=2").seed == 2
    assert loaded(tmp_path, "optimizer.lr=0.5", "optimizer=adam", "optimizer.beta1=0.5").optimizer == Adam(beta1=0.5)


def test_an_override_mends_the_file(tmp_path: Path) -> None:
    """What is missing or wrong in the file is no problem once the command line says it right."""
    file = tmp_path / "c.yaml"
    file.write_text("data: {train: a.csv}\nseed: x\noptimizer: adm\n")

    config = load(file, ["data.target=y", "seed=3", "optimizer=adam"])

    assert (config.data.target, config.seed, config.optimizer) == ("y", 3, Adam())


def test_values_are_read_by_the_same_rules_as_the_file(tmp_path: Path) -> None:
    """Null, quotes, YAML 1.2 numbers and texts with signs mean on the command line what they mean in the file."""
    config = loaded(
        tmp_path, "training.clip_norm=", "name=no", "training.max_minutes=1e2", 'data.target="7"', "data.weight=a=b"
    )

    assert config.training.clip_norm is None
    assert config.name == "no"
    assert config.training.max_minutes == 100
    assert config.data.target == "7"
    assert config.data.weight == "a=b"


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("optimizer.lr=fast", 'command line: optimizer.lr: the text "fast", expected a number > 0'),
        ("optimizer.lr=0,1", "write 0.1, with a point"),
        ("optimizer.learning_rate=1", "command line: optimizer.learning_rate: unknown key; did you mean lr?"),
        ("lr=1", "command line: lr: unknown key; lr belongs under optimizer"),
        ("network.layers=[64,64", "command line: network.layers: is not valid YAML here"),
        ("network.layers=[0]", "command line: network.layers.0.units: 0, expected a whole number"),
        ("network.layers.2=5", "command line: network.layers.2: no such item: the list has 2, counted from 0"),
        ("network.layers.2.units=5", "command line: network.layers.2: no such item: the list has 2, counted from 0"),
        ("network.layers.x=5", "command line: network.layers.x: no such item"),
        ("seed=010", "command line: seed: 010 starts with a zero"),
        ("seed=*a", "command line: seed: aliases are not allowed"),
        ("seed=!!int 3", "command line: seed: tags (tag:yaml.org,2002:int) are not allowed"),
        ("training={epochs: 1, epochs: 2}", "command line: training.epochs: the key is there twice, again; keep one"),
        ("seed.a.b=3", "command line: seed: a mapping, expected a whole number"),
        ("data.validation=0", "needs a validation part, but data.validation is 0"),
        ("name=\x1b[0m", "command line: name: the character U+001B is not allowed"),
        ("name=a\n---\nb", "command line: name: a second document starts here"),
        ("seed=" + "[" * 100_000, "command line: seed: nested deeper than 20 levels"),
    ],
)
def test_a_wrong_override_is_named_as_such(tmp_path: Path, override: str, problem: str) -> None:
    """A problem of an override names the command line and the key, and ends with exit code 3."""
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, "training.early_stopping.patience=3", override)

    assert problem in str(caught.value)
    assert caught.value.exit_code == 3
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize(
    "override", ["", "seed", "=3", "a..b=3", ".seed=3", "seed.=3", " =3", "\udce9=3", ".".join("a" * 30) + "=1"]
)
def test_what_is_no_override_is_wrong_usage(tmp_path: Path, override: str) -> None:
    """An argument that is not KEY=VALUE ends with exit code 2."""
    with pytest.raises(UsageError) as caught:
        loaded(tmp_path, override)

    assert caught.value.exit_code == 2
    assert str(caught.value).isprintable()


def test_problems_of_the_file_and_of_overrides_come_together(tmp_path: Path) -> None:
    """The file is not accepted first and the command line judged after it."""
    file = tmp_path / "c.yaml"
    file.write_text("data: {train: a.csv, target: y}\nseed: x\n")

    with pytest.raises(ConfigError) as caught:
        load(file, ["dtype=x", "output=[]"])

    assert [problem.key for problem in caught.value.problems] == ["seed", "dtype", "output"]


def test_overrides_equal_the_same_config_written_out(tmp_path: Path) -> None:
    """A run started with overrides has the config of a file that says the same."""
    file = tmp_path / "d.yaml"
    file.write_text(FILE.replace("sgd", "{name: sgd, lr: 0.5}") + "metrics: [accuracy]\n")

    assert loaded(tmp_path, "optimizer.lr=0.5", "metrics=[accuracy]") == replace(load(file), name="c")


def test_problems_of_overrides_come_in_the_order_of_the_command_line(tmp_path: Path) -> None:
    """Whatever is wrong with them, the first override is named first."""
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, "optimizer.beta_1=3", "seed=x", "network.layers.9=1", "data.delimiter=ab", "dtype=x")

    keys = ["optimizer.beta_1", "seed", "network.layers.9", "data.delimiter", "dtype"]
    assert [problem.key for problem in caught.value.problems] == keys


@pytest.mark.parametrize("mark", [",", "'", " ", ".", "_"])
def test_one_sign_is_the_text_that_it_is(tmp_path: Path, mark: str) -> None:
    """What a shell hands on of `data.thousands=,` or `data.thousands=" "` is taken, though it is no YAML."""
    found = loaded(tmp_path, f"data.thousands={mark}", 'data.decimal="."' if mark != "." else "data.decimal=,")

    assert found.data.thousands == mark


@pytest.mark.parametrize(("value", "quoted"), [(",,", """'",,"'"""), ("[a", """'"[a"'""")])
def test_a_value_that_is_no_yaml_is_shown_in_quotes(tmp_path: Path, value: str, quoted: str) -> None:
    """A sign that YAML needs for itself can be given in quotes, and the message writes them for the shell."""
    with pytest.raises(ConfigError, match="is not valid YAML here") as caught:
        loaded(tmp_path, f"data.decimal={value}")

    assert str(caught.value).endswith(f"; text goes in quotes: data.decimal={quoted}")
