"""Says in a sentence what is wrong with a key or a value: what was found, what is allowed, what was probably meant."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from difflib import get_close_matches

from fcnet.config import synonyms
from fcnet.config.kinds import (
    Choice,
    Flag,
    Items,
    Kinds,
    Number,
    Section,
    Text,
    at,
    constants,
    keys,
    members,
    section,
    words,
)
from fcnet.config.places import Path, Place, Plain, dotted, shortened
from fcnet.config.scalars import decimal_point, is_number
from fcnet.config.schema import Config

_BOOLEANS_ELSEWHERE = frozenset(("yes", "no", "on", "off", "y", "n", "true", "false"))
LONGEST = 100  # characters of a text for which near misses are looked for
_LIST = re.compile(r"[(\[{]?\s*(\d+(?:\s*[,; ]\s*\d+)*)\s*,?\s*[)\]}]?")
_DIGITS = re.compile(r"[0-9]+(?:[eE][-+]?[0-9]+)?")


def wrong_value(value: Plain, place: Place, kinds: Kinds) -> str:
    """`a quoted string "1e-3", expected a number > 0; remove the quotes`."""
    hint = _hint(value, place, kinds)
    return f"{_found(value, place, kinds)}, expected {words(kinds)}" + (f"; {hint}" if hint else "")


def wrong_name(value: Plain, names: Iterable[str]) -> str:
    """`there is no "adm"; did you mean adam? there are sgd, rmsprop, adam, adamw`."""
    known = list(names)
    meant = _near(str(value), known)
    return f'there is no "{shortened(str(value))}"; {meant}{" " if meant else ""}there are {", ".join(known)}'


def _near(text: str, known: list[str]) -> str:
    """`did you mean adam?` where a text is one of ours by another name or nearly, `the nearest is adam;` or nothing."""
    text = text[:LONGEST]
    same, nearest = synonyms.name(text, known), synonyms.nearest(text, known)
    if same is None and nearest is None:
        same = next(iter(get_close_matches(text.lower().replace("-", "_"), known, 1)), None)
    return f"did you mean {same}?" if same else f"the nearest is {nearest};" if nearest else ""


def unknown_key(path: Path, root: Plain) -> str:
    """`unknown key; did you mean beta1?`, or where the key belongs, or which keys are allowed here."""
    *parents, last = path
    key = str(last)
    parent: Path = tuple(parents)
    kinds = at(parent, root)
    node = root
    for part in parent:
        node = node[part]
    cls = section(kinds, node)
    allowed = list(keys(cls)) if cls else []
    return f"unknown key; {_meant(key, parent, kinds, allowed) or 'allowed here: ' + ', '.join(allowed)}"


def _meant(key: str, parent: Path, kinds: Kinds, allowed: list[str]) -> str:
    alike = {_bare(name): name for name in allowed}
    if _bare(key) in alike:
        return f"did you mean {alike[_bare(key)]}?"
    owners = [name for name, member in members(kinds).items() if key in keys(member)]
    if owners:
        return f"it is a key of {', '.join(owners)}; allowed here: {', '.join(allowed)}"
    canonical = key.lower().replace("-", "_")
    if canonical in synonyms.ABSENT and parent in ((), ("data",)):
        return synonyms.ABSENT[canonical]
    elsewhere = _elsewhere()
    homes = [home for home, name in elsewhere if name == canonical]
    if homes:
        home = next((home for home in homes if parent and home[: len(parent)] == parent), homes[0])
        return f"{canonical} belongs {f'under {dotted(home)}' if home else 'at the top level'}"
    here = synonyms.KEYS | {name: name for name in allowed}
    near = get_close_matches(canonical, here, 1, 0.7)
    full = synonyms.key(key) or (here[near[0]] if near else None)
    if full:
        prefix = dotted(parent) + "."
        return f"did you mean {full.removeprefix(prefix) if parent else full}?"
    if _DIGITS.fullmatch(key):
        return "a comma separates entries here; write decimals with a point"
    near = get_close_matches(canonical, [name for _, name in elsewhere], 1, 0.8)
    if near:
        return f"did you mean {next(dotted((*home, name)) for home, name in elsewhere if name == near[0])}?"
    return ""


def dotted_key(name: str) -> str | None:
    """The key that is called `name`, here or in another program; of several the outermost. None where there is none.

    >>> dotted_key("batch-size"), dotted_key("random_state"), dotted_key("optimizer.lr"), dotted_key("frobnicate")
    ('training.batch_size', 'seed', 'optimizer.lr', None)
    """
    wanted = [_bare(part) for part in name.split(".")]
    for home, key in _elsewhere():
        full = (*home, key)
        if [_bare(str(part)) for part in full[-len(wanted) :]] == wanted:
            return dotted(full)
    return synonyms.key(name)


def setting(key: str, values: list[str]) -> str:
    """The words that someone wrote behind an option, as a value of the key that it was meant as.

    >>> setting("network.layers", ["64", "32"]), setting("loss", ["mse"]), setting("training.epochs", ["5"])
    ('[64,32]', 'squared_error', '5')
    """
    kinds = at(tuple(key.split(".")), {})
    known = [*members(kinds), *constants(kinds)]
    items = [kind for kind in kinds if isinstance(kind, Items)]
    if items and Text not in map(type, kinds):
        words = [word for value in values for word in value.strip("()[]").replace(",", " ").split()]
        names = [name for kind in items for name in constants(kind.item)]
        return f"[{','.join(synonyms.name(word, names) or word for word in words)}]"
    return synonyms.name(values[0], known) or synonyms.nearest(values[0], known) or values[0]


def _elsewhere() -> list[tuple[Path, str]]:
    """Every section and key of the whole config, outer ones first."""
    return sorted(_all_keys(Config, ()), key=lambda found: len(found[0]))


def _all_keys(cls: type, path: Path) -> Iterator[tuple[Path, str]]:
    for key, kinds in keys(cls).items():
        yield path, key
        for kind in kinds:
            if isinstance(kind, Section):
                yield from _all_keys(kind.cls, (*path, key))
            elif isinstance(kind, Choice) and path == ():
                for member in kind.registry.values():
                    yield from (((*path, key), name) for name in keys(member) if name != "name")


def _bare(key: str) -> str:
    return key.lower().replace("-", "").replace("_", "")


def _found(value: Plain, place: Place, kinds: Kinds) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        kind = "a quoted string" if place.quoted else "the text"
        return f'{kind} "{shortened(value)}"'
    if isinstance(value, list) and any(isinstance(kind, Items) for kind in kinds):
        return f"a list of {len(value)}"  # a list as such is right, so its length is wrong
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "a mapping"
    return shortened(place.text or repr(value))


def _hint(value: Plain, place: Place, kinds: Kinds) -> str:
    """What to write instead, where it can be guessed."""
    has = {type(kind) for kind in kinds}
    if isinstance(value, str):
        text = value.strip()
        if Number in has and is_number(text):
            return "remove the quotes"
        if Number in has and (point := decimal_point(text)):
            return f"write {point}, with a point"
        if Flag in has and text.lower() in _BOOLEANS_ELSEWHERE:
            return "only true and false are booleans"
        if Items in has and (numbers := _LIST.fullmatch(text)):
            return f"write [{', '.join(re.findall('[0-9]+', numbers[1]))}]"
        items = [name for kind in kinds if isinstance(kind, Items) for name in constants(kind.item)]
        if item := synonyms.name(text, items):
            return f"write [{item}]"
        return _near(text, list(constants(kinds))).rstrip(";")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    if Number in has and abs(value) > sys.float_info.max:
        return "it is too large; numbers must be finite"
    shown = shortened(place.text or repr(value))
    whole = any(isinstance(kind, Number) and kind.whole for kind in kinds)
    if isinstance(value, float) and value.is_integer() and whole and abs(value) < 2**53:
        return f"write {int(value)}"
    if Text in has and Number not in has:
        return f'put it in quotes: "{shown}"'
    if Items in has:
        return f"write [{shown}]"
    if 1 < value <= 100 and any(isinstance(kind, Number) and kind.lt == 1 for kind in kinds):
        return f"as a share of a hundred write {value / 100:g}"
    counts = [key for kind in kinds if isinstance(kind, Section) for key in _counts(kind.cls)]
    if len(counts) == 1:
        return f"write {{{counts[0]}: {shown}}}"
    return ""


def _counts(cls: type) -> list[str]:
    """The keys of a small section where a whole number may stand."""
    found = [key for key, kinds in keys(cls).items() if any(isinstance(kind, Number) and kind.whole for kind in kinds)]
    return found if len(keys(cls)) <= 3 else []
