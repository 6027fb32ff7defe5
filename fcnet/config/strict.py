"""Makes an object of plain values by what its class says of them: every value strictly, all that is wrong at once.

Strictly: no true, "7" or 10.0 is a whole number, only a whole number also counts as one with a fraction, and a mapping
has the keys of its class and no others.
"""

from __future__ import annotations

import math
from dataclasses import MISSING
from typing import Any, Literal

from fcnet.config.kinds import (
    Anything,
    Choice,
    Constants,
    Flag,
    Items,
    Kind,
    Kinds,
    Null,
    Number,
    Pairs,
    Section,
    Text,
    defaults,
    keys,
)
from fcnet.config.places import Path, Plain
from fcnet.records import dataclass


@dataclass(frozen=True)
class Fault:
    """A key at `path` that is unknown or missing, a value that cannot stand there, or a `name` that nothing has."""

    kind: Literal["unknown", "missing", "value", "name"]
    path: Path
    expected: Kinds = ()


def made(kinds: Kinds, value: Plain, faults: list[Fault], path: Path = (), *, others: bool = False) -> Any:
    """What `value` spells where one of `kinds` is to stand; what is wrong with it, at `path`, goes into `faults`.

    Nothing can be done with the result if there are any. `others`: keys that no class knows are passed over.
    """
    kind = next((kind for kind in kinds if _takes(kind, value)), None)
    match kind:
        case None:
            faults.append(Fault("value", path, kinds))
        case Number(whole=False):
            return float(value)
        case Items(item, such=such):
            before = len(faults)
            items = [made(item, below, faults, (*path, i), others=others) for i, below in enumerate(value)]
            if len(faults) == before and such is not None and not such.holds(items):
                faults.append(Fault("value", path, kinds))
            return items
        case Pairs(item):
            return {key: made(item, below, faults, (*path, key), others=others) for key, below in value.items()}
        case Section(cls):
            return _section(cls, value, faults, path, others)
        case Choice(registry, default):
            name = value.get("name", default)
            if name is None and "name" not in value:
                faults.append(Fault("missing", (*path, "name"), (Constants(registry.keys),)))
            elif not isinstance(name, str) or name not in registry:
                faults.append(Fault("name", path, kinds))
            else:
                return _section(registry[name], value, faults, path, others)
        case _:
            return value
    return None


def _section(cls: type, value: dict[str, Plain], faults: list[Fault], path: Path, others: bool) -> Any:
    before = len(faults)
    below, given = keys(cls), defaults(cls)
    found = {}
    for key, kinds in below.items():
        if key in value:
            found[key] = made(kinds, value[key], faults, (*path, key), others=others)
        elif given[key] is MISSING:
            faults.append(Fault("missing", (*path, key), kinds))
    if not others:
        faults += [Fault("unknown", (*path, key)) for key in value if key not in below]
    return cls(**found) if len(faults) == before else None


def _takes(kind: Kind, value: Plain) -> bool:
    """Whether a value is of this kind; of lists and mappings as such, whatever is in them."""
    match kind:
        case Constants(values):
            return isinstance(value, str) and value in values
        case Number():
            return _is_number(kind, value)
        case Text(such):
            return isinstance(value, str) and (such is None or such.holds(value))
        case Flag():
            return isinstance(value, bool)
        case Null():
            return value is None
        case Items(_, least, most):
            return isinstance(value, list) and len(value) >= least and (most is None or len(value) <= most)
        case Anything():
            return True
        case Pairs() | Section() | Choice():
            return isinstance(value, dict)


def _is_number(kind: Number, value: Plain) -> bool:
    if isinstance(value, bool) or not isinstance(value, int if kind.whole else int | float):
        return False
    try:
        number = value if kind.whole else float(value)
    except OverflowError:
        return False
    return (
        (kind.whole or math.isfinite(number))
        and (kind.ge is None or number >= kind.ge)
        and (kind.gt is None or number > kind.gt)
        and (kind.le is None or number <= kind.le)
        and (kind.lt is None or number < kind.lt)
    )
