"""What is wrong with a config is said all at once, in the order of the file, with what is allowed or was meant."""

# ruff: noqa: E501 - a table of cases is read by its rows

from __future__ import annotations

from pathlib import Path

import pytest

from fcnet.config import from_mapping, load, recheck, to_mapping
from fcnet.errors import ConfigError

DATA = "data: {train: a.csv, target: y}\n"


def problems(tmp_path: Path, text: str, *overrides: str) -> list[str]:
    """The problems of a config, without the path of the file; none if it is accepted."""
    file = tmp_path / "c.yaml"
    file.write_text(text)
    try:
        load(file, overrides)
    except ConfigError as error:
        return [str(problem).replace(str(file), "c.yaml") for problem in error.problems]
    return []


WRONG_VALUES = [
    ("C2-quoted", 'optimizer:\n  lr: "1e-3"', '3:7: optimizer.lr: a quoted string "1e-3", expected a number > 0; remove the quotes'),
    ("C3-comma", "optimizer:\n  lr: 0,001", '3:7: optimizer.lr: the text "0,001", expected a number > 0; write 0.001, with a point'),
    ("C3-exponent", "optimizer:\n  lr: 1,5e-3", "write 1.5e-3, with a point"),
    ("C3-in-braces", "optimizer: {lr: 1,5}", "2:19: optimizer.5: unknown key; a comma separates entries here; write decimals with a point"),
    ("C4-no", "data2: 1\ntraining: {epochs: no}", '3:20: training.epochs: the text "no", expected a whole number from 1 to 2147483647'),
    ("C4-nesterov", "optimizer: {name: sgd, nesterov: on}", 'the text "on", expected true or false; only true and false are booleans'),
    ("C4-capital", "optimizer: {name: sgd, nesterov: True}", 'the text "True", expected true or false; only true and false are booleans'),
    ("C6-octal", "training: {batch_size: 010}", "2:24: training.batch_size: 010 starts with a zero"),
    ("C6-zeros", "training: {epochs: 00}", "some readers take that for octal; write 0, or put it in quotes"),
    ("C10-infinite", "optimizer: {lr: .inf}", "2:17: optimizer.lr: .inf is no number to work with; numbers must be finite"),
    ("C10-word", "optimizer: {lr: nan}", 'optimizer.lr: the text "nan", expected a number > 0'),
    ("C17-true", "training: {epochs: true}", "2:20: training.epochs: true, expected a whole number from 1 to 2147483647"),
    ("C17-true-for-number", "optimizer: {lr: true}", "2:17: optimizer.lr: true, expected a number > 0"),
    ("C18-fraction", "training: {epochs: 10.0}", "10.0, expected a whole number from 1 to 2147483647; write 10"),
    ("C18-zero", "training: {batch_size: 0}", "training.batch_size: 0, expected auto or a whole number from 1 to 2147483647"),
    ("C18-negative", "training: {batch_size: -1}", "training.batch_size: -1, expected auto or a whole number"),
    ("C18-huge", f"training: {{epochs: {10**30}}}", f"training.epochs: {10**30}, expected a whole number from 1 to 2147483647"),
    ("M16-negative-seed", "seed: -1", "seed: -1, expected a whole number from 0 to 9223372036854775807"),
    ("M16-big-seed", f"seed: {2**64}", f"seed: {2**64}, expected a whole number from 0 to 9223372036854775807"),
    ("dropout-1", "network: {dropout: 1}", "network.dropout: 1, expected a number ≥ 0 and < 1"),
    ("null", "seed: null", "seed: null, expected a whole number"),
    ("list", "seed: [1]", "seed: a list, expected a whole number"),
    ("mapping", "seed: {a: 1}", "seed: a mapping, expected a whole number"),
    ("section-text", "training: 3", "2:11: training: 3, expected a mapping with epochs, batch_size, clip_norm, early_stopping, …"),
    ("section-null", "training: null", "2:11: training: null, expected a mapping"),
    ("layers-number", "network: {layers: 64}", "write [64]"),
    ("layers-text", 'network: {layers: [64, "32"]}', '2:24: network.layers.1.units: a quoted string "32", expected a whole number from 1 to 2147483647; remove the quotes'),
    ("layers-zero", "network: {layers: [0]}", "2:20: network.layers.0.units: 0, expected a whole number"),
    ("layers-no-units", "network: {layers: [{dropout: 0.5}]}", "2:20: network.layers.0.units: is missing"),
    ("layers-null", "network: {layers: [null]}", "2:20: network.layers.0: null, expected a whole number from 1 to 2147483647 or a mapping"),
    ("layers-nested", "network: {layers: [8, {name: residual, layers: [4, {units: 8, dropout: 1.5}]}]}", "2:72: network.layers.1.layers.1.dropout: 1.5, expected a number"),
    ("layers-nested-key", "network: {layers: [{name: residual, layers: [{name: residual, layers: [{name: glu, units: 3, unit: 3}]}]}]}", "2:94: network.layers.0.layers.0.layers.0.unit: unknown key; did you mean units?"),
    ("layers-numbers", "network: {layers: [{name: pbld, numbers: -1}]}", "2:42: network.layers.0.numbers: -1, expected a whole number"),
    ("layers-ntk", "network: {parametrisation: {name: ntk, bias: mean}}", "2:46: network.parametrisation.bias: the text \"mean\", expected zeros or data"),
    ("R13-many-layers", "network: {layers: [" + "1," * 1001 + "]}", "network.layers: a list of 1001, expected a list (at most 1000,"),
    ("number-for-text", "name: 2019", '2:7: name: 2019, expected text; put it in quotes: "2019"'),
    ("option", "dtype: float16", 'dtype: the text "float16", expected float32 or float64; did you mean float64?'),
    ("unknown-name", "loss: hubber", '2:7: loss: there is no "hubber"; did you mean huber? there are squared_error'),
    ("unknown-name-in-mapping", "optimizer: {lr: 1, name: Adam-W}", '2:26: optimizer: there is no "Adam-W"; did you mean adamw?'),
    ("name-is-a-number", "optimizer: {name: 3}", '2:19: optimizer: there is no "3"; there are sgd'),
    ("name-missing", "loss: {delta: 2}", "2:1: loss.name: is missing; expected squared_error, absolute_error"),
    ("named-number", "optimizer: 3", "optimizer: 3, expected one of sgd, rmsprop, adam, adamw, muon, schedule_free, lbfgs (or a mapping with name)"),
    ("layers-as-text", 'network: {layers: "(64, 32)"}', "write [64, 32]"),
    ("patience-alone", "training: {early_stopping: 10}", "write {patience: 10}"),
    ("share-of-a-hundred", "network: {dropout: 20}", "as a share of a hundred write 0.2"),
    ("metrics-as-text", "metrics: f1", "write [f1]"),
    ("metric", "metrics: [acuracy]", 'metrics.0: the text "acuracy", expected accuracy'),
    ("watched", "training: {early_stopping: {metric: accuracy}}", "did you mean val_accuracy?"),
    ("clip-zero", "training: {clip_norm: 0}", "training.clip_norm: 0, expected a number > 0 or null"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "problem"), [pytest.param(*case, id=name) for name, *case in WRONG_VALUES])
def test_a_wrong_value_is_named_with_what_is_allowed(tmp_path: Path, text: str, problem: str) -> None:
    """The message has line, column, key, what was found, what is allowed and, if it can be guessed, what to write."""
    found = problems(tmp_path, DATA + text)

    assert any(problem in line for line in found), found
    assert all(line.startswith(("c.yaml:2:", "c.yaml:3:")) for line in found)


UNKNOWN_KEYS = [
    ("C12-typo", "optimizer:\n  beta_1: 0.9", "3:3: optimizer.beta_1: unknown key; did you mean beta1?"),
    ("C12-section", "trainig: {epochs: 1}", "2:1: trainig: unknown key; did you mean training?"),
    ("C12-other-name", "optimizer: {learning_rate: 0.1}", "optimizer.learning_rate: unknown key; did you mean lr?"),
    ("C12-typo-of-other-name", "optimizer: {learing_rate: 0.1}", "optimizer.learing_rate: unknown key; did you mean lr?"),
    ("C12-far", "learing_rate: 0.1", "learing_rate: unknown key; did you mean optimizer.lr?"),
    ("C13-lr", "lr: 0.1", "2:1: lr: unknown key; lr belongs under optimizer"),
    ("C13-epochs", "epochs: 3", "2:1: epochs: unknown key; epochs belongs under training"),
    ("C13-nested", "patience: 3", "2:1: patience: unknown key; patience belongs under training.early_stopping"),
    ("C13-outwards", "training: {dtype: float64}", "training.dtype: unknown key; dtype belongs at the top level"),
    ("C14-hyphen", "training: {batch-size: 3}", "2:12: training.batch-size: unknown key; did you mean batch_size?"),
    ("C14-hyphen-elsewhere", "batch-size: 3", "2:1: batch-size: unknown key; batch_size belongs under training"),
    ("C14-capital", "training: {Epochs: 3}", "training.Epochs: unknown key; did you mean epochs?"),
    ("of-another-name", "optimizer: {name: adam, momentum: 0.9}", "it is a key of sgd, rmsprop, muon; allowed here: name, lr, beta1"),
    ("far-from-all", "training: {qqq: 1}", "training.qqq: unknown key; allowed here: epochs, batch_size, clip_norm"),
    ("in-a-layer", "network: {layers: [{unit: 3}]}", "network.layers.0.unit: unknown key; did you mean units?"),
    ("name-of-the-member", "optimizer: {name: adam, adam: 1}", "2:25: optimizer.adam: unknown key"),
    ("value-beside-it", "optimizer: {name: adam, adam: {lr: x}, lr: y}", 'optimizer.lr: the text "y", expected a number'),
    ("section-of-the-runs-name", "name: training\ntraining: {x1: 1}", "3:12: training.x1: unknown key"),
    ("not-there-sweep", "sweep: {lr: 1}", "2:1: sweep: unknown key; there is no search; fcnet train CONFIG.yaml optimizer.lr"),
    ("not-there-memory", "memory: 2GB", "2:1: memory: unknown key; rows are held in memory; fcnet check says"),
    ("not-there-but-here", "optimizer: {name: adam, memory: 3}", "optimizer.memory: unknown key; it is a key of lbfgs"),
    ("control-character", '"a\\e]0;b\\a": 1', "2:1: a\\x1b]0;b\\x07: unknown key"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "problem"), [pytest.param(*case, id=name) for name, *case in UNKNOWN_KEYS])
def test_an_unknown_key_is_named_with_the_one_that_was_meant(tmp_path: Path, text: str, problem: str) -> None:
    """The near miss is suggested, or the section where the key belongs, or the keys that are allowed."""
    found = problems(tmp_path, DATA + text)

    assert any(problem in line for line in found), found


def test_everything_wrong_is_said_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    """One pass over a config with faults of many kinds names each of them, top to bottom, then the command line's."""
    text = (
        "sede: 1\n"
        "training:\n"
        "  batch_size: 010\n"
        "  epochs: 0\n"
        "data:\n"
        "  target: y\n"
        "  validation: 0.6\n"
        "  test: 0.5\n"
        "optimizer: {lr: true, lr: 2}\n"
        "loss: &x hubber\n"
    )

    found = problems(tmp_path, text, "seed=-1", "schedule.evry=3")

    starts = [
        "c.yaml:1:1: sede: unknown key; did you mean seed?",
        "c.yaml:3:15: training.batch_size: 010 starts with a zero",
        "c.yaml:4:11: training.epochs: 0, expected a whole number",
        "c.yaml:5:1: data.train: is missing; expected text",
        "c.yaml:7:15: data.validation: 0.6 and data.test: 0.5 leave no rows for training",
        "c.yaml:9:17: optimizer.lr: true, expected a number",
        "c.yaml:9:23: optimizer.lr: the key is there twice",
        "c.yaml:10:7: loss: anchors (&x) are not allowed",
        "command line: seed: -1, expected a whole number",
        "command line: schedule.evry: unknown key",
    ]
    del starts[5]  # the value of a key that is there twice is not judged as well
    assert len(found) == len(starts)
    assert all(line.startswith(start) for line, start in zip(found, starts, strict=True)), found


def test_after_five_problems_of_a_kind_the_rest_is_counted(tmp_path: Path) -> None:
    """Fifty unknown keys are five lines and a count, and do not hide a problem of another kind."""
    keys = "".join(f"zz{i}: 1\n" for i in range(50))

    found = problems(tmp_path, DATA + keys + "seed: x\n")

    assert [line.split(":")[3].strip() for line in found[:5]] == [f"zz{i}" for i in range(5)]
    assert found[5].startswith("c.yaml:52:7: seed: ")
    assert found[6:] == ["c.yaml: and 45 more unknown keys"]


@pytest.mark.parametrize("text", ["seed: 0\n", "data: {}\n", "data:\n", "data: {exclude: []}\n"])
def test_c15_what_must_be_given_is_named_with_its_section(tmp_path: Path, text: str) -> None:
    """C15: without a table to learn from, the message names data.train and data.target."""
    found = problems(tmp_path, text)

    assert ["data.train: is missing" in found[0], "data.target: is missing" in found[1]] == [True, True]


def test_an_npz_file_needs_no_target(tmp_path: Path) -> None:
    """The target of an NPZ file is its array y, so no column needs to be named."""
    assert problems(tmp_path, "data: {train: digits.npz}\n") == []


CONTRADICTIONS = [
    ("parts", "data: {train: a.csv, target: y, validation: 0.5, test: 0.5}", ["data.validation", "data.test"]),
    ("stopping", "data: {train: a.csv, target: y, validation: 0}\ntraining: {early_stopping: {patience: 3}}", ["training.early_stopping", "data.validation"]),
    ("schedule", DATA + "schedule: {name: step, every: 200}", ["schedule.every", "training.epochs"]),
    ("split-column", "data: {train: a.csv, target: y, split: {by: column}}", ["data.split.column", "data.split.by"]),
    ("split-random", "data: {train: a.csv, target: y, split: {column: part}}", ["data.split.column", "data.split.by"]),
    ("split-validation", "data: {train: a.csv, target: y, validation: 0.5, split: {by: column, column: p}}", ["data.validation: 0.5", "data.split.by"]),
    ("split-test", "data: {train: a.csv, target: y, test: t.csv, split: {by: column, column: p}}", ["data.test: t.csv", "data.split.by"]),
    ("target-feature", "data: {train: a.csv, target: y, features: [x, y]}", ["data.features", "data.target"]),
    ("target-excluded", "data: {train: a.csv, target: [y, z], exclude: [z]}", ["data.exclude", "data.target"]),
    ("weight-feature", "data: {train: a.csv, target: y, weight: w, features: [x, w]}", ["data.features", "data.weight"]),
    ("weight-target", "data: {train: a.csv, target: y, weight: y}", ["data.weight", "data.target"]),
    ("part-feature", "data: {train: a.csv, target: y, features: [p], split: {by: column, column: p}}", ["data.features", "data.split.column"]),
    ("twice", "data: {train: a.csv, target: y, features: [a, b, a]}", ["data.features", '"a" twice']),
    ("no-target", "data: {train: a.csv, target: []}", ["data.target", "at least one"]),
    ("marks", "data: {train: a.csv, target: y, decimal: ',', thousands: ','}", ["data.thousands", "data.decimal"]),
    ("delimiter", "data: {train: a.csv, target: y, delimiter: ab}", ["data.delimiter", "one character"]),
    ("checkpoint-two", DATA + "training: {checkpoint: {epochs: 1, steps: 3}}", ["training.checkpoint", "epochs and steps"]),
    ("checkpoint-none", DATA + "training: {checkpoint: {}}", ["training.checkpoint", "exactly one"]),
    ("nesterov", DATA + "optimizer: {name: sgd, nesterov: true}", ["optimizer.nesterov", "optimizer.momentum"]),
    ("watched", DATA + "metrics: [accuracy]\ntraining: {early_stopping: {metric: val_roc_auc}}", ["training.early_stopping.metric", "metrics"]),
    ("watched-task", "data: {train: a.csv, target: y, task: regression}\ntraining: {early_stopping: {metric: val_accuracy}}", ["training.early_stopping.metric", "data.task"]),
    ("metric-task", "data: {train: a.csv, target: y, task: regression}\nmetrics: [accuracy]", ["metrics", "data.task"]),
    ("metric-twice", DATA + "metrics: [accuracy, accuracy]", ["metrics", "twice"]),
    ("loss-task", "data: {train: a.csv, target: y, task: regression}\nloss: cross_entropy", ["loss", "data.task"]),
    ("weights-task", "data: {train: a.csv, target: y, task: regression, class_weight: balanced}", ["data.class_weight", "data.task"]),
    ("stratify-task", "data: {train: a.csv, target: y, task: regression, split: {stratify: true}}", ["data.split.stratify", "data.task"]),
    ("output-loss", DATA + "loss: cross_entropy\nnetwork: {output_activation: tanh}", ["network.output_activation", "loss"]),
    ("output-task", "data: {train: a.csv, target: y, task: binary}\nnetwork: {output_activation: tanh}", ["network.output_activation", "data.task"]),
    ("too-small", DATA + "optimizer: {eps: 1e-50}", ["optimizer.eps: 1e-50 is 0 in float32", "1.1754944e-38", "dtype: float64"]),
    ("too-small-deep", DATA + "network: {layers: [{units: 3, activation: {name: elu, alpha: 1e-39}}]}", ["network.layers.0.activation.alpha: 1e-39 is 0"]),
    ("too-large", DATA + "training: {clip_norm: 1e39}", ["training.clip_norm: 1e+39 is infinite in float32", "3.4028235e+38"]),
    ("name-slash", DATA + "name: a/b", ["name", "cannot name a run's folder"]),
    ("name-dots", DATA + "name: ..", ["name", "cannot name a run's folder"]),
    ("name-colon", DATA + "name: a:b", ["name", "it holds one of", "choose another"]),
    ("name-windows", DATA + "name: CON", ["name", "Windows does not allow it"]),
    ("name-newline", DATA + 'name: "a\\nb"', ["name", "a\\nb"]),
    ("name-long", DATA + "name: " + "x" * 300, ["name", "300 bytes"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "named"),
    [pytest.param(*case, id=f"C35-{name}" if len(case[1]) else name) for name, *case in CONTRADICTIONS],
)
def test_keys_that_do_not_fit_together_are_both_named(tmp_path: Path, text: str, named: list[str]) -> None:
    """Two keys that are each right but contradict each other make one problem, at a place in the file, with both names."""
    found = problems(tmp_path, text)

    assert len(found) == 1, found
    assert found[0].startswith("c.yaml:")
    assert found[0].split(":")[1].isdigit()
    assert all(name in found[0] for name in named), found


@pytest.mark.parametrize(
    "text",
    [
        "data: {train: a.csv, target: y, validation: 0.5, test: 0.49}",
        "data: {train: a.csv, target: y, validation: v.csv, test: t.csv}\ntraining: {early_stopping: {patience: 3}}",
        "data: {train: a.csv, target: y, split: {by: column, column: p}}\ntraining: {early_stopping: {patience: 3}}",
        "data: {train: a.csv, target: y, split: {by: column, column: p}, exclude: [p]}",
        "data: {train: a.csv, target: y, split: {by: column, column: p}, validation: 0, test: 0}",
        "data: {train: a.csv, target: y, features: [a, b], exclude: [b]}",
        "data: {train: a.csv, target: y, categorical: [y]}",
        "data: {train: a.csv, target: y, task: regression}\nloss: huber\nnetwork: {output_activation: tanh}",
        DATA + "schedule: {name: step, every: 100}",
        DATA + "metrics: [accuracy]\ntraining: {early_stopping: {metric: val_accuracy}}",
        DATA + "network: {layers: []}",
        DATA + "training: {early_stopping: null}",
        DATA + "optimizer: {eps: 1.1754944e-38, lr: 3.4028235e+38, weight_decay: 0}\ntraining: {max_minutes: 1e-50}",
        DATA + "optimizer: {eps: 1e-50}\ndtype: float64",
    ],
)
def test_what_fits_together_is_accepted(tmp_path: Path, text: str) -> None:
    """The limits of what contradicts are where they should be."""
    assert problems(tmp_path, text) == []


def test_early_stopping_is_off_without_validation(tmp_path: Path) -> None:
    """Where nobody asked for it, early stopping without a validation part is off rather than an error."""
    file = tmp_path / "c.yaml"
    file.write_text("data: {train: a.csv, target: y, validation: 0}\n")

    assert load(file).training.early_stopping is None


def test_what_the_data_say_is_compared_again() -> None:
    """A loss that turns out not to fit the task is refused like one that never did."""
    config = from_mapping({"data": {"train": "a.csv", "target": "y"}, "loss": "cross_entropy"})
    recheck(config, "c.yaml")
    resolved = from_mapping(
        {**to_mapping(config), "loss": "auto", "data": {"train": "a", "target": "y", "task": "regression"}}
    )
    late = type(config)(**{**vars(resolved), "loss": config.loss})

    with pytest.raises(ConfigError, match=r"c\.yaml: loss: cross_entropy does not fit data\.task: regression"):
        recheck(late, "c.yaml")


@pytest.mark.parametrize("file", ["a:b.csv", "CON.csv", "x .csv"])
def test_a_file_that_cannot_name_a_run_is_told_how_to_name_it(file: str) -> None:
    """Where the name comes from the file, the message says so and how to give another; `name=…` is enough."""
    mapping = {"data": {"train": file, "target": "y"}}

    with pytest.raises(ConfigError, match=r"from the file's name, cannot name .*; give another with name=…"):
        from_mapping(mapping)
    assert from_mapping(mapping, ["name=ab"]).name == "ab"


def test_what_is_missing_comes_after_what_is_wrong(tmp_path: Path) -> None:
    """A key that stands nowhere has no line, and is named when all lines of the file are done with."""
    found = problems(tmp_path, "seed: x\nnonsense: 1\n", "dtype=x")

    assert [line.split(": ")[1] for line in found] == ["seed", "nonsense", "data.train", "data.target", "dtype"]


def test_the_parts_of_a_split_column_are_no_fractions(tmp_path: Path) -> None:
    """Where a column names the parts, the resolved config has no fraction, and reads back as it is."""
    file = tmp_path / "c.yaml"
    file.write_text("data: {train: a.csv, target: y, split: {by: column, column: p}}\n")

    config = load(file)

    assert (config.data.validation, config.data.test) == (0, 0)
    assert config.training.early_stopping is not None
    assert from_mapping(to_mapping(config)) == config
    assert "data.test: 0.25 is not used" in problems(tmp_path, file.read_text(), "data.test=0.25")[0]


def test_columns_that_are_not_there_are_named_with_what_else_is_wrong(tmp_path: Path) -> None:
    """A config that is refused before its table is read is still compared with the names in it."""
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    text = "data:\n  train: a.csv\n  target: y\n  exclude: [nope, y]\n  weight: ww\nseed: x\n"

    found = problems(tmp_path, text)

    assert [line.split("; ")[0].replace(str(tmp_path), "") for line in found] == [
        'c.yaml:4:12: data.exclude: the column "y" is also data.target',
        'c.yaml:4:13: data.exclude.0: no column "nope"',
        'c.yaml:5:11: data.weight: no column "ww"',
        'c.yaml:6:7: seed: the text "x", expected a whole number from 0 to 9223372036854775807',
        '/a.csv: the columns are "x", "y"',
    ]


def test_many_columns_that_are_not_there_are_counted(tmp_path: Path) -> None:
    """Beside another mistake too, five of them are named and the rest is a number, with the columns that there are."""
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")

    found = problems(tmp_path, "data: {train: a.csv, target: y, exclude: [p, q, r, s, t, u, v]}\nseed: x\n")

    assert [line.split(": ")[-1].split(", expected")[0] for line in found] == [
        *(f'no column "{name}"' for name in "pqrst"),
        'the text "x"',
        'and 2 more columns that are not there; the columns are "x", "y"',
    ]


def test_a_table_that_cannot_be_read_hides_no_problem(tmp_path: Path) -> None:
    """Whatever lies there instead of a table, the problems of the config are the same."""
    text = DATA + "seed: x\n"
    missing = problems(tmp_path, text)
    (tmp_path / "a.csv").mkdir()

    assert problems(tmp_path, text) == missing != []


@pytest.mark.parametrize(("key", "value"), [("delimiter", '";;"'), ("delimiter", '"\\""'), ("thousands", '"."')])
def test_a_table_whose_cells_cannot_be_told_apart_is_not_looked_at(tmp_path: Path, key: str, value: str) -> None:
    """What is wrong with how cells stand is all that is said, though the table is there to be read."""
    (tmp_path / "a.csv").write_text("x,z\n1,2\n")

    found = problems(tmp_path, f"data: {{train: a.csv, target: y, {key}: {value}}}\nseed: -1\n")

    assert [line.split(": ")[1] for line in found] == [f"data.{key}", "seed"]
