"""`network.embeddings` is a short form of layers and an encoding, and the resolved config has these."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import fcnet
from fcnet import config as configs
from fcnet.errors import ConfigError

TABLE = {"train": "a.csv", "target": "y"}
SMALL = {"layers": [4], "dropout": 0.0}


def spelled(embeddings: object, *overrides: str, **given: object) -> dict[str, object]:
    """The config with these embeddings, before the data are read: its layers by name, and how categories come."""
    network = {"layers": [4], **({} if embeddings is None else {"embeddings": embeddings})}
    found = configs.to_mapping(configs.from_mapping({"data": TABLE, "network": network, **given}, overrides))
    assert "embeddings" not in found["network"]
    layers = found["network"]["layers"]
    return {
        "layers": [layer if isinstance(layer, int) else layer["name"] for layer in layers],
        "categorical": found["preprocess"]["categorical"],
        "first": layers[0],
    }


@pytest.mark.parametrize(
    ("embeddings", "layers", "categorical"),
    [
        ({"numeric": "none"}, [4], "one_hot"),
        ({"numeric": "periodic"}, ["periodic", 4], "one_hot"),
        ({"numeric": "pbld"}, ["pbld", 4], "one_hot"),
        ({"numeric": "cosine"}, ["cosine", 4], "one_hot"),
        ({"numeric": {"name": "piecewise", "bins": 5}}, ["piecewise", 4], "one_hot"),
        ({"categorical": "one_hot"}, [4], "one_hot"),
        ({"categorical": "auto"}, ["embedding", 4], {"name": "codes", "above": 8, "few": "one_hot"}),
        ({"categorical": {"size": 3}}, ["embedding", 4], {"name": "codes", "above": 0, "few": "one_hot"}),
        ({"numeric": "pbld", "categorical": "auto"}, ["embedding", "pbld", 4], {"name": "codes", "above": 8}),
        ({}, [4], "one_hot"),
        (None, [4], "one_hot"),
    ],
    ids=str,
)
def test_embeddings_become_layers_and_an_encoding(embeddings: object, layers: object, categorical: object) -> None:
    """Layers stand in front of the user's own, vectors of categories first."""
    found = spelled(embeddings)

    assert found["layers"] == layers
    if isinstance(categorical, dict):
        assert {key: found["categorical"][key] for key in categorical} == categorical
    else:
        assert found["categorical"] == categorical


def test_settings_of_the_short_form_are_those_of_the_layers() -> None:
    """A mapping has the keys of the layer that it names, and categories the length of their vectors."""
    assert spelled({"numeric": {"name": "pbld", "size": 6}})["first"] == {
        "name": "pbld",
        "frequencies": 16,
        "size": 6,
        "scale": 0.1,
        "lr": 0.1,
        "numbers": None,
    }
    assert spelled({"categorical": {"size": 3}})["first"] == {
        "name": "embedding",
        "size": 3,
        "lr": 1.0,
        "levels": None,
    }


def test_the_command_line_sets_embeddings() -> None:
    """Keys are made on the way."""
    found = spelled(None, "network.embeddings.numeric=pbld", "network.embeddings.categorical.size=2")

    assert found["layers"] == ["embedding", "pbld", 4]
    assert found["first"]["size"] == 2


def test_embeddings_stand_over_those_of_a_recipe() -> None:
    """What is said replaces the recipe's layer of that kind, what is not said stays."""
    recipe = {"recipe": "realmlp", "network": {}}

    def layers(embeddings: object) -> list[object]:
        network = {"embeddings": embeddings}
        found = configs.to_mapping(configs.from_mapping({**recipe, "data": TABLE, "network": network}))
        return [layer["name"] for layer in found["network"]["layers"] if isinstance(layer, dict)]

    assert layers({}) == ["embedding", "pbld", "scale"]
    assert layers({"numeric": "none"}) == ["embedding", "scale"]
    assert layers({"numeric": "cosine"}) == ["embedding", "cosine", "scale"]
    assert layers({"categorical": "one_hot"}) == ["pbld", "scale"]


def test_what_is_said_twice_is_refused_with_both_places(tmp_path: Path) -> None:
    """Layers of that kind, wherever they stand, and an encoding of categories do not go beside embeddings."""
    file = tmp_path / "c.yaml"
    file.write_text(
        "data: {train: a.csv, target: y}\n"
        "preprocess: {categorical: signs}\n"
        "network:\n"
        "  layers: [embedding, pbld, 16]\n"
        "  embeddings:\n"
        "    numeric: periodic\n"
        "    categorical: {size: 4}\n"
    )

    with pytest.raises(ConfigError) as error:
        configs.load(file)

    said = "network.embeddings."
    assert [str(problem).partition(": ")[2] for problem in error.value.problems] == [
        f"{said}numeric: network.layers.1 says so too, with pbld; write one of the two",
        f"{said}categorical: network.layers.0 says so too, with embedding; write one of the two",
        f"{said}categorical: says how categories come, and preprocess.categorical is signs; remove one of the two",
    ]
    assert [(problem.line, problem.column) for problem in error.value.problems] == [(6, 14), (7, 18), (7, 18)]


def test_an_encoding_that_embeddings_ask_for_may_be_written_too() -> None:
    """It is no contradiction."""
    assert spelled({"categorical": "one_hot"}, preprocess={"categorical": "one_hot"})["layers"] == [4]


def test_other_embeddings_are_refused_with_those_there_are() -> None:
    """The error names what is allowed, none too."""
    with pytest.raises(ConfigError, match=r'no "scale"; there are cosine, pbld, periodic, piecewise, none'):
        spelled({"numeric": "scale"})
    with pytest.raises(ConfigError, match=r'the text "codes", expected auto or one_hot, a mapping with size'):
        spelled({"categorical": "codes"})


def _table(kinds: str) -> dict[str, list[object]]:
    """120 rows of a number, columns of 3 and of 11 categories, as far as they are asked for, and two classes."""
    rng = np.random.default_rng(2)
    number, few, many = rng.normal(size=120), rng.integers(0, 3, 120), rng.integers(0, 11, 120)
    columns = {"n": number.tolist(), "f": [f"f{i}" for i in few], "m": [f"m{i}" for i in many]}
    return {
        **{name: columns[name] for name in kinds},
        "y": ["yes" if v > 5 else "no" for v in number + few + many * 0.5],
    }


@pytest.mark.parametrize(
    ("columns", "embeddings", "encodings", "layers"),
    [
        ("nfm", {"numeric": "piecewise", "categorical": "auto"}, "standard one_hot codes", ["embedding", "piecewise"]),
        ("nfm", {"numeric": "pbld", "categorical": {"size": 2}}, "standard codes codes", ["embedding", "pbld"]),
        ("nf", {"numeric": "pbld", "categorical": "auto"}, "standard one_hot", ["pbld"]),
        ("n", {"numeric": "pbld", "categorical": {"size": 2}}, "standard", ["pbld"]),
        ("fm", {"numeric": "pbld", "categorical": "one_hot"}, "one_hot one_hot", []),
    ],
)
def test_layers_that_no_column_needs_are_left_out(
    columns: str, embeddings: object, encodings: str, layers: list[str], tmp_path: Path
) -> None:
    """A table of numbers alone has no vectors of categories, one of categories no embedding of numbers; the resolved
    config trains the same net, and goes on as it is."""
    given = {
        "data": {"target": "y"},
        "output": str(tmp_path),
        "network": {**SMALL, "embeddings": embeddings},
        "training": {"epochs": 1},
    }

    run = fcnet.train({**given, "name": "a"}, data=_table(columns))

    resolved = configs.to_mapping(configs.load(run.path / "config.yaml", needs_data=False))
    assert [layer["name"] for layer in resolved["network"]["layers"][:-1]] == layers
    assert [c["encoding"] for c in run.model.header["columns"]["columns"]] == encodings.split()
    again = fcnet.train(
        {**resolved, "data": {"target": "y"}, "name": "b", "output": str(tmp_path)}, data=_table(columns)
    )
    assert again.metrics["validation"] == run.metrics["validation"]
    longer = {**given, "name": "a", "training": {"epochs": 2}}
    assert fcnet.train(longer, data=_table(columns), resume=True).metrics["epochs"] == 2
