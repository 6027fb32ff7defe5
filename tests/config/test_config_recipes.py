"""Recipes: where defaults come from, and what stands over them."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

import fcnet
from fcnet import config as configs
from fcnet.config.recipes import QUALITIES, RECIPES, Facts, defaults
from fcnet.errors import ConfigError

DATA = {"train": "a.csv", "target": "y"}


def toy(facts: Facts) -> dict[str, object]:
    """A recipe that goes by the task and the number of rows."""
    lr = {"regression": 0.2}.get(facts.task or "", 0.04)
    return {
        "preprocess": {"numeric": "none"},
        "network": {"layers": [32, 16], "activation": {"name": "leaky_relu", "slope": 0.3}},
        "optimizer": {"name": "adamw", "lr": lr, "beta2": 0.95},
        "training": {"epochs": 7, "batch_size": 64 if (facts.rows or 0) < 100 else 8},
    }


@pytest.fixture(autouse=True)
def _toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RECIPES, "toy", toy)


def _read(given: dict[str, object], *overrides: str) -> dict[str, object]:
    return configs.to_mapping(configs.from_mapping({"data": DATA, **given}, overrides))


def _scores(run: fcnet.Run) -> dict[str, object]:
    return {key: value for key, value in run.metrics.items() if key != "seconds"}


def test_a_recipe_gives_the_defaults_of_other_keys() -> None:
    """What a recipe says is in the spelled config, and what it does not say is as it always is."""
    spelled = _read({"recipe": "toy"})

    assert spelled["network"]["layers"] == [32, 16]
    assert spelled["optimizer"] == {
        **_read({})["optimizer"],
        "name": "adamw",
        "lr": 0.04,
        "beta2": 0.95,
        "weight_decay": 0.01,
    }
    assert spelled["training"]["epochs"] == 7
    assert spelled["training"]["early_stopping"] == _read({})["training"]["early_stopping"]


@pytest.mark.parametrize(
    ("given", "overrides", "key", "expected"),
    [
        ({"optimizer": {"lr": 0.5}}, (), "optimizer", {"name": "adamw", "lr": 0.5, "beta2": 0.95}),
        ({"optimizer": {"name": "adamw", "lr": 0.5}}, (), "optimizer", {"name": "adamw", "lr": 0.5, "beta2": 0.95}),
        ({"optimizer": "sgd"}, (), "optimizer", {"name": "sgd", "lr": 0.01, "momentum": 0.0}),
        ({"optimizer": {"name": "adam"}}, (), "optimizer", {"name": "adam", "lr": 0.001, "beta2": 0.999}),
        ({}, ("optimizer.lr=0.5",), "optimizer", {"name": "adamw", "lr": 0.5, "beta2": 0.95}),
        ({"optimizer": {"lr": 0.5}}, ("optimizer.lr=0.25",), "optimizer", {"name": "adamw", "lr": 0.25}),
        ({"network": {"layers": [4]}}, (), "network", {"layers": [4]}),
        ({}, ("network.layers.0.units=5",), "network", {"layers": [5, 16]}),
    ],
    ids=["a-key", "with-its-name", "another-name", "the-usual-name", "override", "over-both", "a-list", "an-item"],
)
def test_what_is_written_stands_over_the_recipe(given: dict, overrides: tuple, key: str, expected: dict) -> None:
    """Any key of the user's wins, in the file and on the command line, and the rest of its section stays."""
    section = _read({"recipe": "toy", **given}, *overrides)[key]

    assert {name: section[name] for name in expected} == expected


@pytest.mark.parametrize("override", ["recipe=toy", 'recipe="toy"', "recipe='toy'", "recipe = toy", "recipe=toy # !"])
def test_the_command_line_chooses_the_recipe_too(override: str) -> None:
    """recipe=NAME, in whatever way YAML spells the name, stands over the file's, and its defaults below the file's
    keys."""
    spelled = _read({"recipe": "plain", "training": {"epochs": 3}}, override)

    assert (spelled["recipe"], spelled["training"]["epochs"]) == ("toy", 3)
    assert spelled["network"]["layers"] == [32, 16]


def test_quality_and_task_are_chosen_in_whatever_way_yaml_spells_them() -> None:
    """What goes by them is the same with quotes and in braces as without."""
    plain = _read({}, "quality=fast", "data.task=regression")

    assert _read({}, 'quality="fast"', "data.task='regression'") == plain
    assert _read({}, "quality= fast", "data={train: a.csv, target: y, task: regression}") == plain
    assert _read({"quality": "fast"}, "quality=null") == _read({})


def test_an_unknown_recipe_is_refused_with_those_there_are() -> None:
    """The error names the recipes."""
    with pytest.raises(ConfigError, match="plain"):
        _read({"recipe": "souffle"})


def test_the_resolved_config_is_the_recipe_spelled_out(tmp_path: Path) -> None:
    """A run's config.yaml has what the recipe said of these data, and trains the same net again."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 3))
    table = {"a": x[:, 0], "b": x[:, 1], "c": x[:, 2], "y": x @ [1.0, -2.0, 0.5] + 0.25}
    given = {"recipe": "toy", "data": {"target": "y"}, "output": str(tmp_path), "training": {"epochs": 2}}

    run = fcnet.train({**given, "name": "one"}, data=table)

    resolved = configs.load(run.path / "config.yaml", needs_data=False)
    spelled = configs.to_mapping(resolved)
    assert (spelled["optimizer"]["lr"], spelled["training"]["batch_size"], spelled["training"]["epochs"]) == (0.2, 8, 2)
    again = fcnet.train({**spelled, "data": given["data"], "name": "two"}, data=table)
    assert _scores(again) == _scores(run)


@pytest.mark.parametrize("recipe", [name for name in RECIPES if name != "toy"])
def test_the_resolved_config_scores_as_the_recipe_did(recipe: str, tmp_path: Path) -> None:
    """Whatever a recipe makes of the task that the data turn out to be, config.yaml makes too: predictions as well."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3))
    table = {"a": x[:, 0], "b": x[:, 1], "c": x[:, 2], "y": np.exp(x @ [1.0, -2.0, 0.5])}
    given = {"recipe": recipe, "data": {"target": "y"}, "output": str(tmp_path), "training": {"epochs": 2}}

    run = fcnet.train({**given, "name": "one"}, data=table)

    spelled = configs.to_mapping(configs.load(run.path / "config.yaml", needs_data=False))
    again = fcnet.train({**spelled, "data": given["data"], "name": "two", "output": str(tmp_path)}, data=table)
    assert _scores(again) == _scores(run)


def test_a_run_with_a_recipe_goes_on_as_it_began(tmp_path: Path) -> None:
    """Resume takes the config as it was written, and as it was resolved."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 2))
    table = {"a": x[:, 0], "b": x[:, 1], "y": x[:, 0] - x[:, 1]}
    given = {"recipe": "toy", "name": "r", "data": {"target": "y"}, "output": str(tmp_path)}
    longer = {**given, "training": {"epochs": 4}}
    fcnet.train({**given, "training": {"epochs": 2}}, data=table)

    run = fcnet.train(longer, data=table, resume=True)

    assert run.path == tmp_path / "r"
    assert _scores(run) == _scores(fcnet.train({**longer, "name": "whole"}, data=table))


def _mixed(task: str, n: int = 240) -> dict[str, list[object]]:
    """A table of two numbers, one of them with holes, a column of 3 categories and one of 12, and a target."""
    rng = np.random.default_rng(1)
    a, b, few, many = rng.normal(size=n), rng.normal(size=n), rng.integers(0, 3, n), rng.integers(0, 12, n)
    value = a + (few == 1) + 0.3 * many
    table: dict[str, list[object]] = {
        "a": a.tolist(),
        "b": [None if i % 17 == 0 else x for i, x in enumerate(b.tolist())],
        "few": [f"f{i}" for i in few],
        "many": [f"m{i}" for i in many],
    }
    if task == "multilabel":
        return {**table, "y": (value > 2).astype(int).tolist(), "z": (a > 0).astype(int).tolist()}
    kinds = {
        "binary": ["no" if v < 2 else "yes" for v in value],
        "multiclass": [f"k{int(v > 1) + int(v > 2.5)}" for v in value],
        "regression": value.tolist(),
    }
    return {**table, "y": kinds[task]}


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel", "regression"])
def test_realmlp_learns_every_task(task: str, tmp_path: Path) -> None:
    """RealMLP takes numbers with holes, few categories and many, whatever is predicted, and its resolved config says
    what it made of them."""
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(_mixed(task))
    target = ["y", "z"] if task == "multilabel" else "y"
    given = {"recipe": "realmlp", "name": task, "output": str(tmp_path), "data": {"target": target, "task": task}}

    run = fcnet.train({**given, "training": {"epochs": 30}}, data=table)

    spelled = configs.to_mapping(configs.load(run.path / "config.yaml", needs_data=False))
    layers = [
        layer["name"] if isinstance(layer, dict) and "name" in layer else "dense"
        for layer in spelled["network"]["layers"]
    ]
    assert layers == ["embedding", "pbld", "scale", "dense", "dense", "dense"]
    assert spelled["optimizer"]["lr"] == (0.2 if task == "regression" else 0.04)
    assert spelled["training"]["batch_size"] == 64
    scores = run.metrics["validation"]
    if task == "regression":
        assert scores["rmse"]["value"] < 0.6 * scores["rmse"]["trivial"]
    else:
        assert scores["log_loss"]["value"] < 0.9 * scores["log_loss"]["trivial"]
    assert len(fcnet.load(run.path).predict(table)) == len(table)


def test_realmlp_needs_neither_numbers_nor_categories(tmp_path: Path) -> None:
    """A table of numbers alone has no embedding of categories; one of few categories alone has one-hot inputs."""
    mixed = _mixed("regression")
    given = {"recipe": "realmlp", "output": str(tmp_path), "data": {"target": "y"}, "training": {"epochs": 2}}
    numbers = {name: np.array(mixed[name], float) for name in ("a", "y")}
    texts = {"few": np.array(mixed["few"]), "y": np.array(mixed["y"], float)}

    runs = [fcnet.train({**given, "name": name}, data=data) for name, data in (("n", numbers), ("t", texts))]

    for run in runs:
        spelled = configs.to_mapping(configs.load(run.path / "config.yaml", needs_data=False))
        assert spelled["preprocess"]["categorical"] == "signs"
        assert all(
            layer.get("name") != "embedding" for layer in spelled["network"]["layers"] if isinstance(layer, dict)
        )


@pytest.mark.parametrize(
    ("given", "overrides", "watched", "smoothing"),
    [
        ({}, (), "val_accuracy", 0.1),
        ({"metrics": ["balanced_accuracy", "log_loss"]}, (), "val_balanced_accuracy", 0.1),
        ({"metrics": ["log_loss", "accuracy"]}, (), "val_log_loss", None),
        ({"metrics": ["roc_auc"]}, (), "val_roc_auc", None),
        ({"metrics": ["roc_auc"]}, ("metrics=[accuracy, roc_auc]",), "val_accuracy", 0.1),
        ({}, ("metrics=[log_loss]",), "val_log_loss", None),
        ({"training": {"early_stopping": {"metric": "val_loss"}}}, (), "val_loss", None),
        ({"metrics": ["accuracy", "log_loss"]}, ("training.early_stopping.metric=val_log_loss",), "val_log_loss", None),
        ({"loss": {"name": "cross_entropy", "label_smoothing": 0.2}, "metrics": ["log_loss"]}, (), "val_log_loss", 0.2),
    ],
    ids=["nothing", "decisions", "log-loss", "auc", "over-the-file", "override", "loss", "watched", "user-wins"],
)
def test_realmlp_smooths_labels_where_decisions_count(
    given: dict, overrides: tuple, watched: str, smoothing: float | None
) -> None:
    """The metric asked for is watched, and where it is about probabilities, labels are smoothed by the user alone."""
    data = {**DATA, "task": "multiclass"}
    spelled = _read({"recipe": "realmlp", **given, "data": data}, *overrides)

    assert spelled["training"]["early_stopping"]["metric"] == watched
    assert (spelled["loss"]["label_smoothing"] if isinstance(spelled["loss"], dict) else None) == smoothing


@pytest.mark.parametrize("quality", QUALITIES)
def test_a_quality_is_its_recipe_at_a_length_by_the_rows(quality: str) -> None:
    """A quality's config is its recipe's but for what goes by time, and never makes more passes over more rows."""
    chosen = QUALITIES[quality]

    sizes = [Facts("binary", rows, 5, 5, 0) for rows in (50, 1_000, 10_000, 100_000, 1_000_000)]
    found = [defaults(None, quality, facts) for facts in sizes]
    lengths = [(each.get("ensemble", 1), each["training"]["epochs"]) for each in found]
    passes = [nets * epochs for nets, epochs in lengths]
    for (nets, _), (fewer, more) in zip(lengths[1:], itertools.pairwise(passes), strict=True):
        assert more < fewer + nets  # epochs are whole
    for length, each, facts in zip(lengths, passes, sizes, strict=True):
        assert each * (facts.rows or 0) <= chosen.many or length == (1, chosen.least)
    assert defaults(None, quality, Facts())["training"]["epochs"] <= lengths[-1][1]
    own, recipe = (defaults(*names, sizes[1]) for names in ((None, quality), (chosen.recipe, None)))
    assert {key for key in recipe if recipe[key] != own[key]} <= {"training"}
    assert own["recipe"] == chosen.recipe


@pytest.mark.parametrize("quality", QUALITIES)
def test_the_lengths_in_the_documentation_are_those_of_the_qualities(quality: str) -> None:
    """docs/recipes.md says how many nets and epochs a table of 20 numbers gets."""
    text = (Path(__file__).parents[2] / "docs/recipes.md").read_text(encoding="utf-8")
    (row,) = [line for line in text.splitlines() if line.startswith(f"| `{quality}` |")]

    rows = (1_000, 5_000, 25_000, 100_000, 1_000_000)
    found = [defaults(None, quality, Facts("binary", n, 20, 20, 0)) for n in rows]
    lengths = [f"{each.get('ensemble', 1)} × {each['training']['epochs']}" for each in found]
    assert [cell.strip() for cell in row.split("|")[3:8]] == lengths


def test_better_qualities_are_longer() -> None:
    """fast, default and best are in the order of the passes that they make, whatever the number of rows."""
    for rows in (100, 3_000, 30_000, 300_000):
        found = [defaults(None, name, Facts("binary", rows, 5, 5, 0)) for name in QUALITIES]

        passes = [each.get("ensemble", 1) * each["training"]["epochs"] for each in found]
        assert passes == sorted(passes), rows


@pytest.mark.parametrize("quality", QUALITIES)
def test_wide_tables_have_shorter_runs_without_waves(quality: str) -> None:
    """With more columns a run is no longer than with few, and numbers come as waves only where they are few."""
    found = [defaults(None, quality, Facts("binary", 40_000, n, n, 0)) for n in (1, 100, 256, 257, 2_000)]

    assert [{"name": "pbld"} in each["network"]["layers"] for each in found] == [True, True, True, False, False]
    work = [each.get("ensemble", 1) * each["training"]["epochs"] for each in found]
    assert work[0] > work[2] >= work[4]


@pytest.mark.parametrize(("recipe", "layer"), [("pack", "pbld"), ("tabm", "piecewise")])
def test_recipes_of_many_members_embed_numbers_where_they_are_few(recipe: str, layer: str) -> None:
    """With hundreds of numbers pack and tabm take them as they are: embedded, they would make a net of millions."""
    found = [defaults(recipe, None, Facts("binary", 10_000, n, n, 0)) for n in (1, 256, 257, 2_000)]

    names = [[each["name"] for each in one["network"]["layers"] if isinstance(each, dict)] for one in found]
    assert [layer in each for each in names] == [True, True, False, False]
    if recipe == "pack":
        assert ["scale" in one["members"] for one in found] == [True, True, False, False]


@pytest.mark.parametrize("given", [{}, {"training": {"epochs": 3}}, {"optimizer": "sgd"}])
@pytest.mark.parametrize("quality", QUALITIES)
def test_a_recipe_and_any_other_key_stand_over_the_quality(quality: str, given: dict[str, object]) -> None:
    """With a recipe of the user's own, and with any other key, the config has these; the rest is as it was."""
    other = _read({"quality": quality, "recipe": "plain", **given})
    own = _read({"quality": quality, **given})

    assert other == {**_read(given), "quality": quality}
    assert own == {
        **_read({"recipe": QUALITIES[quality].recipe, **given}),
        "quality": quality,
        "calibration": "auto",
        "training": own["training"],
    }
    assert "training" not in given or own["training"]["epochs"] == 3


def test_a_config_that_asks_for_nothing_stays_plain() -> None:
    """Without recipe and quality, the keys have the defaults that the reference lists."""
    assert (_read({})["recipe"], _read({})["quality"]) == ("plain", None)
    assert _read({}) == _read({"recipe": "plain"})


@pytest.mark.parametrize("quality", QUALITIES)
def test_what_a_quality_made_of_the_data_trains_the_same_net_again(quality: str, tmp_path: Path) -> None:
    """The resolved config names the quality, and its values are those of the data; it gives the same run."""
    mixed = _mixed("binary")
    table = {name: np.array(mixed[name]) for name in ("a", "few", "y")}
    given = {"quality": quality, "data": {"target": "y"}, "output": str(tmp_path), "network": {"layers": [4]}}

    run = fcnet.train({**given, "name": "one", "training": {"epochs": 2}}, data=table)

    spelled = configs.to_mapping(configs.load(run.path / "config.yaml", needs_data=False))
    assert (spelled["quality"], spelled["recipe"]) == (quality, QUALITIES[quality].recipe)
    assert spelled["training"]["batch_size"] == 64
    again = fcnet.train({**spelled, "data": given["data"], "name": "two"}, data=table)
    assert _scores(again) == _scores(run)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_does_without_validation_rows(recipe: str) -> None:
    """Where the user keeps no rows for validation, the recipe's early stopping falls away without a word."""
    spelled = _read({"recipe": recipe}, "data.validation=0")

    assert spelled["training"]["early_stopping"] is None
    with pytest.raises(ConfigError, match="needs a validation part"):
        _read({"recipe": recipe}, "data.validation=0", "training.early_stopping.patience=3")


def test_layers_of_ones_own_need_no_embedding() -> None:
    """Where the user's layers do not begin with an embedding, RealMLP's categories are inputs of their own."""
    own = _read({"recipe": "realmlp"}, "network.layers=[8]")
    asked = _read({"recipe": "realmlp", "network": {"layers": [{"name": "embedding", "size": 2}, 8]}})

    assert own["preprocess"]["categorical"] == "signs"
    assert asked["preprocess"]["categorical"]["name"] == "codes"
    with pytest.raises(ConfigError, match="embedding"):
        _read({"recipe": "realmlp"}, "network.layers=[8]", "preprocess.categorical=codes")


def test_a_solver_of_ones_own_is_not_given_what_is_about_steps() -> None:
    """With optimizer: lbfgs a recipe keeps its schedules and its dropout to itself; the user's are refused."""
    own = _read({"recipe": "realmlp"}, "optimizer=lbfgs")

    assert _read({"recipe": "pack"}, "optimizer=lbfgs")["ensemble"] == 1
    assert _read({"recipe": "tabm"}, "optimizer=lbfgs")["training"]["clip_norm"] is None
    assert (own["schedule"], own["network"]["dropout"]) == (_read({})["schedule"], 0.0)
    assert own["network"]["layers"] == _read({"recipe": "realmlp"})["network"]["layers"]
    with pytest.raises(ConfigError, match=r"schedule: does not go with optimizer: lbfgs"):
        _read({"recipe": "realmlp"}, "optimizer=lbfgs", "schedule=cosine")


@pytest.mark.parametrize(
    ("given", "overrides", "lacking"),
    [
        ({}, (), []),
        ({"optimizer": {"name": "adamw", "lr": 0.01}}, (), ["lr", "weight_decay"]),
        ({}, ("optimizer=sgd",), ["lr", "weight_decay"]),
        ({}, ("network.dropout=0.1",), ["dropout"]),
        ({"network": {"layers": [8]}}, (), ["scale"]),
        ({"optimizer": "sgd", "members": {"lr": {"low": 5e-4, "high": 1e-2}}}, (), ["weight_decay"]),
        ({}, ("optimizer=sgd", "members.lr={low: 5e-4, high: 1e-2}"), ["weight_decay"]),
        (
            {},
            ("optimizer=sgd", "members={lr: {low: 5e-4, high: 1e-2}}"),
            ["weight_decay", "dropout", "scale", "select"],
        ),
    ],
)
def test_what_is_said_of_all_nets_is_drawn_for_none(
    given: dict[str, object], overrides: tuple[str, ...], lacking: list[str]
) -> None:
    """Nets of recipe pack have rates of their own, but for those that the user gives for all of them."""
    own = defaults("pack", None, Facts())["members"]

    assert _read({"recipe": "pack", **given}, *overrides)["members"] == {
        **_read({})["members"],
        **{key: rates for key, rates in own.items() if key not in lacking},
    }
