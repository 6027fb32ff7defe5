"""Says which labels or categories of a column look as if they were meant to be one, or to be missing."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence

import numpy as np

from fcnet.data.numbers import AUTO_MISSING, BLANKS, Grammar
from fcnet.data.spelling import keys
from fcnet.data.table import Column
from fcnet.errors import more

GROUPS = 3
"""So many groups of a kind are spelled out."""


def resemblances(column: Column, grammar: Grammar, what: str) -> list[str]:
    """Notices of the texts in a column that are one `what` (label, category), that nearly are, or that mean missing."""
    if column.codes is None or column.boolean:
        return []
    absent = grammar.missing if column.numeric else grammar.missing_text
    texts = [text for text in column.levels if text.strip(BLANKS) not in absent]
    same = dict(zip(texts, keys(texts), strict=True))
    start = f'column "{column.name}": '
    notices = [f"{start}{quoted} are one {what}" for quoted in _groups(texts, same.__getitem__)]
    rest = list({key: text for text, key in reversed(same.items())}.values())[::-1]  # the first of each key
    for by, how in ((_folded, "differ only by case or blanks"), (grammar.number, "are one number")):
        notices += [
            f"{start}{quoted} {how}, and are different {_plural(what)}; write them alike if they mean the same"
            for quoted in _groups(rest, by)
        ]
    marks = [text for text in texts if text.strip(BLANKS) in AUTO_MISSING]
    if marks:
        counts = np.bincount(column.codes[column.codes >= 0], minlength=len(column.levels))
        n = sum(int(counts[column.levels.index(text)]) for text in marks)
        cells = "1 cell says" if n == 1 else f"{n:,} cells say"
        notices.append(
            f"{start}{cells} {_quoted(marks, 'or')}, which is read as a {what}; if it means missing, set "
            f"{grammar.as_missing(marks)}"
        )
    return notices


def _folded(text: str) -> str:
    return "".join(text.casefold().split())


def _groups(texts: Iterable[str], by: Callable[[str], Hashable]) -> list[str]:
    """The texts that have in common what `by` finds in them, if it is not None, quoted; a few groups of them."""
    found: dict[Hashable, list[str]] = {}
    for text in texts:
        if (common := by(text)) is not None:
            found.setdefault(common, []).append(text)
    groups = [group for group in found.values() if len(group) > 1]
    quoted = [_quoted(group, "and") for group in groups[:GROUPS]]
    return [*quoted[:-1], f"{quoted[-1]} ({more(len(groups) - GROUPS, 'such groups')})"] if groups[GROUPS:] else quoted


def _quoted(texts: Sequence[str], last: str) -> str:
    shown = [f'"{text[:40]}"' for text in texts[:5]]
    if len(texts) > 5:
        shown.append(f"{len(texts) - 5:,} more")
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} {last} {shown[-1]}"


def _plural(what: str) -> str:
    return "categories" if what == "category" else f"{what}s"
