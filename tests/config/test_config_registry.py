"""Whatever is registered as activation, loss, optimizer, … the config takes, checks and documents at once."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

import pytest

from fcnet.config import from_mapping, to_mapping
from fcnet.config.reference import jsonschema, table
from fcnet.config.write import plain
from fcnet.errors import ConfigError
from fcnet.nn.activations import ACTIVATIONS
from fcnet.nn.initializers import INITIALIZERS
from fcnet.nn.losses import LOSSES
from fcnet.optim.rules import OPTIMIZERS
from fcnet.optim.schedules import SCHEDULES
from fcnet.optim.solvers import SOLVERS
from fcnet.registry import Gt

REGISTRIES: dict[str, MutableMapping[str, Any]] = {
    "network.activation": ACTIVATIONS,
    "network.init": INITIALIZERS,
    "loss": LOSSES,
    "optimizer": ChainMap(OPTIMIZERS, SOLVERS),
    "schedule": SCHEDULES,
}


def mapping(key: str, value: Any) -> dict[str, Any]:
    """A config that says nothing but `key: value`."""
    config: dict[str, Any] = {"data": {"train": "a.csv", "target": "y"}}
    *sections, last = key.split(".")
    inner = config
    for section in sections:
        inner = inner.setdefault(section, {})
    inner[last] = value
    return config


def reached(config: Any, key: str) -> Any:
    for part in key.split("."):
        config = getattr(config, part)
    return config


MEMBERS = [(key, name) for key, registry in REGISTRIES.items() for name in registry]


@pytest.mark.parametrize(("key", "name"), MEMBERS, ids=[f"{key}-{name}" for key, name in MEMBERS])
def test_a_name_and_a_mapping_with_it_mean_the_same(key: str, name: str) -> None:
    """Every registered name works bare, as a mapping, and with all its keys spelled out."""
    member = REGISTRIES[key][name]

    bare = reached(from_mapping(mapping(key, name)), key)
    spelled = {f.name: plain(getattr(bare, f.name)) for f in fields(bare)}

    assert bare == member()
    assert spelled["name"] == name
    assert reached(from_mapping(mapping(key, {"name": name})), key) == bare
    assert reached(from_mapping(mapping(key, spelled)), key) == bare


@dataclass(frozen=True)
class Toy:
    """A member that only this test knows."""

    name: Literal["toy"] = "toy"
    strength: Annotated[float, Gt(0)] = 2.0
    """How toy it is."""


@pytest.fixture(params=REGISTRIES)
def toy(request: pytest.FixtureRequest) -> Iterator[str]:
    """The key under which a toy member is registered for one test."""
    registry = REGISTRIES[request.param]
    registry["toy"] = Toy
    yield request.param
    del registry["toy"]


def test_a_new_member_is_accepted_by_being_registered(toy: str) -> None:
    """A class of one's own is a value at once, with its defaults, its limits and its spelled form."""
    config = from_mapping(mapping(toy, {"name": "toy", "strength": 3}))

    assert reached(config, toy) == Toy(strength=3.0)
    assert reached(from_mapping(mapping(toy, "toy")), toy) == Toy()
    assert from_mapping(to_mapping(config)) == config
    with pytest.raises(ConfigError, match=rf"config: {toy}.strength: 0, expected a number > 0"):
        from_mapping(mapping(toy, {"name": "toy", "strength": 0}))
    with pytest.raises(ConfigError, match="did you mean toy"):
        from_mapping(mapping(toy, "tpy"))


def test_a_new_member_documents_itself(toy: str) -> None:
    """The table and the JSON Schema know a class of one's own, with the text under its field."""
    rows = {row.key: row for row in table()}

    row = rows[f"{toy}.strength (toy)"]
    assert (row.type, row.default, row.limits, row.meaning) == ("number", "2.0", "> 0", "How toy it is.")
    assert jsonschema()["$defs"]["Toy"]["properties"]["strength"]["exclusiveMinimum"] == 0


def test_a_member_that_is_gone_is_unknown_again() -> None:
    """The config asks the registries each time."""
    with pytest.raises(ConfigError, match='there is no "toy"'):
        from_mapping(mapping("loss", "toy"))
