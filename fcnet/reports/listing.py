"""The runs of a folder as a table: which there are, what they were made of and what they are worth."""

from __future__ import annotations

import contextlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from fcnet import files
from fcnet.config.places import COMMAND_LINE, Tree
from fcnet.config.text import parse_value
from fcnet.errors import ConfigError, FcnetError, UsageError, escape
from fcnet.metrics import METRICS
from fcnet.reports.summary import PARTS
from fcnet.reports.text import duration, figures, shorten, table
from fcnet.runs import checkpoint, folder

SCORES = 6
"""So many metrics have a column."""


def flat(mapping: Mapping[str, Any], prefix: str = "", *, whole: bool = False) -> dict[str, Any]:
    """What a config says by dotted keys, with the places of those in a list; a list of values is one.

    `whole`: also mappings, and lists of them, by keys of their own.

    >>> flat({"a": {"b": 1, "c": [2]}, "d": [{"e": 3}]})
    {'a.b': 1, 'a.c': [2], 'd.0.e': 3}
    >>> flat({"a": {"b": 1}}, whole=True)
    {'a': {'b': 1}, 'a.b': 1}
    """
    found: dict[str, Any] = {}
    for key, value in mapping.items():
        below = value
        if isinstance(value, list) and any(isinstance(each, Mapping) for each in value):
            below = dict(enumerate(value))
        leaf = not isinstance(below, Mapping) or not below
        found |= {f"{prefix}{key}": value} if leaf or whole else {}
        found |= {} if leaf else flat(below, f"{prefix}{key}.", whole=whole)
    return found


def summary_of(run: Path) -> dict[str, Any]:
    """What a run's metrics.json holds; nothing where there is none, or it is garbled."""
    with (
        contextlib.suppress(OSError, ValueError, RecursionError, FcnetError),
        files.open_plain(run / folder.SUMMARY) as f,
    ):
        found = json.loads(f.read())
        if isinstance(found, dict):
            return {key: sound for key, each in found.items() if (sound := _sound(key, each)) is not None}
    return {}


def _sound(key: str, value: Any) -> Any:
    """What a metrics.json says under a key; None where that is garbled."""
    if key in PARTS:
        return _scores(value)
    if key == "refit":
        return {part: _scores(each) for part, each in value.items()} if isinstance(value, Mapping) else None
    if key in ("best_epoch", "epochs"):
        return value if isinstance(value, int) else None
    return finite(value) if key == "seconds" else value


def rows_of(header: Mapping[str, Any], summary: Mapping[str, Any], part: str) -> int:
    """How many rows the scores of a part are of: of folds, those that one of them has held out."""
    own, folds = int(header["parts"][part]["rows"]), summary.get("folds")
    if own or part != "validation" or not isinstance(folds, list):
        return own
    held = [each.get("rows") for each in folds if isinstance(each, Mapping)]
    return sum(n for n in held if isinstance(n, int)) // int(header["config"]["cv"]["repeats"])


def _scores(part: Any) -> dict[str, Any]:
    """The metrics of a part, without what is no number; an interval has both ends or none."""
    found = {}
    for name, each in part.items() if isinstance(part, Mapping) else ():
        if isinstance(each, Mapping):
            value, trivial, low, high = (finite(each.get(key)) for key in ("value", "trivial", "low", "high"))
            ends = {"low": low, "high": high} if None not in (low, high) else {"low": None, "high": None}
            found[name] = {"value": value, "trivial": trivial, **ends}
    return found


def entry(run: Path) -> dict[str, Any] | None:
    """What there is to say of a run, as `fcnet runs --json` does; None where it has no checkpoint that can be read."""
    for name in (folder.BEST, folder.LAST):
        with contextlib.suppress(FcnetError, LookupError, TypeError):
            header = checkpoint.peek(run / name)
            summary = summary_of(run)
            part = next((part for part in reversed(PARTS) if summary.get(part)), None)
            scores = {} if part is None else summary[part]
            return {
                "run": str(run),
                "name": str(header["name"]),
                "created": str(header["created"]),
                "complete": bool(summary),
                "task": header["task"],
                "target": list(header["target"]["targets"]),
                "best_epoch": header["epoch"],
                "epochs": summary.get("epochs"),
                "seconds": summary.get("seconds"),
                "part": part,
                "scores": scores,
                "config": header["config"],
            }
    return None


def entries(output: Path) -> tuple[list[dict[str, Any]], list[Path]]:
    """All runs of a folder, the newest first, and those that have no checkpoint that can be read; a run's own folder
    has that one."""
    runs = folder.every(output) or [output]
    found = {run: entry(run) for run in runs}
    return [each for each in found.values() if each], [run for run in runs if not found[run] and run != output]


def selected(found: Sequence[dict[str, Any]], wanted: Iterable[str]) -> list[dict[str, Any]]:
    """The runs of which every `KEY=VALUE` is true; UsageError for what is none, and for a key that no run has."""
    kept = list(found)
    for text in wanted:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise UsageError(f'"{text}": expected KEY=VALUE, for example optimizer.lr=0.01')
        _check(found, key)
        kept = [each for each in kept if _is(_value(each, key), value)]
    return kept


def ordered(found: Sequence[dict[str, Any]], key: str) -> list[dict[str, Any]]:
    """The runs by a key: metrics from the best on, all else upwards, and with "-" before it the other way round.

    Those that have no such value come last.
    """
    name = key.removeprefix("-")
    _check(found, name)
    metric = METRICS.get(name.rpartition(".")[2])
    down = (metric is not None and metric.greater_is_better) != key.startswith("-")
    known = [(value, each) for each in found if (value := _value(each, name)) is not None]
    number = all(isinstance(value, int | float) for value, _ in known)
    known.sort(key=lambda pair: pair[0] if number else str(pair[0]), reverse=down)
    return [*(each for _, each in known), *(each for each in found if _value(each, name) is None)]


def _known(each: Mapping[str, Any]) -> dict[str, Any]:
    """All that a run can be chosen and sorted by: what is said of it, its scores, its config."""
    own = {key: value for key, value in each.items() if key not in ("config", "scores")}
    own["target"] = each["target"][0] if len(each["target"]) == 1 else each["target"]
    scores = {name: score.get("value") for name, score in each["scores"].items()}
    return {**flat(each["config"], whole=True), **own, **scores}


def _value(each: Mapping[str, Any], key: str) -> Any:
    known, named = _known(each), key.removesuffix(".name")
    bare = known.get(named) if named != key else None  # loss: huber is loss: {name: huber}
    return bare if isinstance(bare, str) else known.get(key)


def _check(found: Sequence[dict[str, Any]], key: str) -> None:
    keys = {name for each in found for name in _known(each)}
    if found and key not in keys and all(_value(each, key) is None for each in found):
        near = get_close_matches(key, sorted(keys), n=1)
        meant = f"; did you mean {near[0]}?" if near else "; a key of a config, a metric, or one of those of --json"
        raise UsageError(f'no run has "{key}"{meant}')


def _is(value: Any, wanted: str) -> bool:
    """Whether a value is the one that `wanted` writes, as YAML or as it stands."""
    if str(value) == wanted:
        return True
    try:
        parsed = parse_value(wanted, Tree({}, COMMAND_LINE), ())
    except ConfigError:
        return False
    return _means(parsed, value)


SHORT = ("name", "units", "folds", "size", "value")
"""What a config means by a single word or number where it has a mapping."""


def _means(said: Any, value: Any) -> bool:
    """Whether the resolved value of a config is one that can be said so: a bare name, units, some keys of a mapping."""
    if isinstance(value, Mapping):
        if isinstance(said, Mapping):
            return all(key in value and _means(each, value[key]) for key, each in said.items())
        return any(_means(said, value[key]) for key in SHORT if key in value)
    if isinstance(value, list) and isinstance(said, list):
        return len(said) == len(value) and all(map(_means, said, value))
    return bool(said == value) and isinstance(said, bool) == isinstance(value, bool)


def shown(value: Any) -> str:
    """A value of a config in a table."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {shown(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(shown, value)) + "]"
    return "–" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def lines(found: Sequence[Mapping[str, Any]], width: int | None, keys: Sequence[str] = ()) -> list[str]:
    """The table for people; `keys` have a column too."""
    names = [name for name, _ in Counter(name for each in found for name in each["scores"]).most_common(SCORES)]
    keys = [key for key in dict.fromkeys(keys) if key not in (*names, "run", "created", "best_epoch", "seconds")]
    rows = []
    for each in found:
        at = f"{each['best_epoch']}" + (f"/{shown(each['epochs'])}" if each["complete"] else ", not complete")
        spent = "–" if each["seconds"] is None else duration(each["seconds"])
        values = [figures([each["scores"].get(name, {}).get("value")])[0] for name in names]
        when = escape(each["created"])[:16].replace("T", " ")
        own = [shorten(shown(_value(each, key)), 24) for key in keys]
        rows.append((shorten(each["run"], 40), [when, at, spent, each["part"] or "–", *values, *own]))
    heads = ["written (UTC)", "best epoch", "time", "scores on", *names, *(shorten(key, 24) for key in keys)]
    return table("", "run", heads, rows, 0, width)


def finite(value: Any) -> float | None:
    """A number, or None for what is none."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
