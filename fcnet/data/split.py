"""Deals the rows out to training, validation and test, as a pure function of the seed, the rows and their classes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fcnet.errors import DataError
from fcnet.random import key, permutation

Array = NDArray[Any]

PARTS = ("train", "validation", "test")


def random_split(
    n: int, fractions: Sequence[float], seed: int, classes: Array | None, labels: Sequence[str], strict: bool, file: str
) -> tuple[dict[str, Array], list[str]]:
    """Row numbers of each part, sorted, and notices.

    `fractions`: the shares of validation and test of all n rows. With `classes` (n,), the class of each row, every
    part gets each class by its share, as near as whole rows allow; classes with fewer rows than there are parts go to
    training, or with `strict` are an error. DataError where there are fewer rows than parts.
    """
    wanted = [name for name, fraction in zip(PARTS[1:], fractions, strict=True) if fraction > 0]
    parts = 1 + len(wanted)
    if n < parts:
        rows = f"{n} row{'' if n == 1 else 's'} cannot be split into {' and '.join(['train', *wanted])}"
        raise DataError(f"{rows}; {_whole(wanted)}", file=file)
    sizes = dict.fromkeys(PARTS[1:], 0)
    for name, fraction in zip(PARTS[1:], fractions, strict=True):
        if fraction > 0:
            sizes[name] = max(1, int(n * fraction + 0.5))
    while n - sum(sizes.values()) < 1:
        sizes[max(sizes, key=lambda name: sizes[name])] -= 1
    order = permutation(n, key(seed, "split"))
    notices: list[str] = []
    if classes is None or not wanted:
        chosen = {}
        at = 0
        for name in ("test", "validation"):
            chosen[name] = order[at : at + sizes[name]]
            at += sizes[name]
        chosen["train"] = order[at:]
    else:
        chosen, notices = _stratified(order, sizes, classes, labels, parts, strict, file)
    return {name: np.sort(chosen[name]).astype(np.int64) for name in PARTS}, notices


def _whole(wanted: Sequence[str]) -> str:
    """What to do with a table too small for the `wanted` parts."""
    return f"give more rows, or train on all of them: {' '.join(f'data.{name}=0' for name in wanted)}"


def _stratified(
    order: Array, sizes: dict[str, int], classes: Array, labels: Sequence[str], parts: int, strict: bool, file: str
) -> tuple[dict[str, Array], list[str]]:
    counts = np.bincount(classes, minlength=len(labels))
    rare = (counts > 0) & (counts < parts)
    notices: list[str] = []
    if rare.any():
        names = ", ".join(f'"{labels[i]}" ({counts[i]})' for i in np.flatnonzero(rare)[:5])
        more = f" and {int(rare.sum()) - 5} more" if rare.sum() > 5 else ""
        text = f"classes with fewer rows than the {parts} parts: {names}{more}"
        if strict:
            raise DataError(
                f"{text}; they cannot be in every part: set data.split.stratify: auto, or drop them", file=file
            )
        notices.append(f"{text}; they go to training")
    free = np.where(rare, 0, counts - 1)  # of each class one row stays in training
    taken = np.zeros_like(counts)
    chosen: dict[str, list[Array]] = {name: [] for name in PARTS}
    grouped = order[np.argsort(classes[order], kind="stable")]
    by_class = np.split(grouped, np.cumsum(counts)[:-1])
    for name in ("test", "validation"):
        quotas = _quotas(np.where(rare, 0, counts), sizes[name], free - taken)
        for c, quota in enumerate(quotas):
            chosen[name].append(by_class[c][taken[c] : taken[c] + quota])
        taken = taken + quotas
    chosen["train"] = [rows[taken[c] :] for c, rows in enumerate(by_class)]
    empty = np.zeros(0, dtype=np.int64)
    result = {name: np.concatenate([empty, *rows]) for name, rows in chosen.items()}
    for name, size in sizes.items():
        if size and not len(result[name]):
            wanted = [part for part, n in sizes.items() if n]
            raise DataError(f"no class has rows to spare for {name}; {_whole(wanted)}", file=file)
    return result, notices


def _quotas(counts: Array, total: int, free: Array) -> Array:
    """Whole numbers near counts · total / Σ counts, at most `free`, that sum to `total` where that is possible.

    Largest remainders; ties go to the class that comes first.
    """
    share = counts * (total / max(int(counts.sum()), 1))
    quotas = np.minimum(np.floor(share).astype(np.int64), free)
    while (left := total - int(quotas.sum())) > 0 and (quotas < free).any():
        remainder = np.where(quotas < free, share - quotas, -np.inf)
        best = np.argsort(-remainder, kind="stable")[: min(left, int((quotas < free).sum()))]
        quotas[best] += 1
    return quotas


def rows_hash(rows: Array) -> str:
    """The SHA-256 of a part's row numbers, sorted, as little-endian int64: tells whether a part is the same part."""
    return hashlib.sha256(np.sort(rows).astype("<i8").tobytes()).hexdigest()
