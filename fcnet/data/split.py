"""Deals the rows out to training, validation and test, as a pure function of the seed, the rows and their classes."""

from __future__ import annotations

import hashlib
import itertools
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


def folds_at_random(n: int, folds: int, repeats: int, seed: int, classes: Array | None) -> tuple[list[Array], Array]:
    """The rows (·,) int64, sorted, that each fold of each repeat holds out, and those that none does.

    Sizes differ by one row at most; with `classes` (n,) those of each class do so too. A class of one row is held out
    nowhere: no net could learn it.
    """
    alone = np.zeros(n, bool) if classes is None else (np.bincount(classes) == 1)[classes]
    held = []
    for repeat in range(repeats):
        order = permutation(n, key(seed, "folds", repeat))
        order = order[~alone[order]]
        if classes is not None:
            order = order[np.argsort(classes[order], kind="stable")]
        held += [np.sort(order[fold::folds]) for fold in range(folds)]
    return held, np.flatnonzero(alone)


def folds_of_groups(groups: Array, folds: int, repeats: int, seed: int) -> list[Array]:
    """The rows (·,) int64, sorted, that each fold holds out, with whole groups (n,) of int64 from 0.

    The largest group first, in random order where they are of one size, each goes to the fold with the fewest rows.
    """
    sizes, held = np.bincount(groups), []
    for repeat in range(repeats):
        order = permutation(len(sizes), key(seed, "folds", repeat))
        at, filled = np.zeros(len(sizes), np.int64), np.zeros(folds, np.int64)
        for group in order[np.argsort(-sizes[order], kind="stable")]:
            at[group] = filled.argmin()
            filled[at[group]] += sizes[group]
        held += [np.flatnonzero(at[groups] == fold) for fold in range(folds)]
    return held


def folds_in_time(times: Array, folds: int) -> list[tuple[Array, Array]] | None:
    """For each fold the rows (·,) int64, sorted, that are learnt from, and the later ones that are held out.

    In the order of `times` (n,) the rows make folds + 1 blocks of one size, but that rows of the same time are not
    separated: they belong to the later block. Each block but the first is held out from a net that learns from all
    before it. None where there are too few different times.
    """
    order = np.argsort(times, kind="stable")
    inner = times[order][[len(order) * i // (folds + 1) for i in range(1, folds + 1)]]
    starts = [*np.searchsorted(times[order], inner, "left").tolist(), len(order)]
    if 0 in starts or len(set(starts)) < len(starts):
        return None
    return [(np.sort(order[:start]), np.sort(order[start:stop])) for start, stop in itertools.pairwise(starts)]


def rows_hash(rows: Array) -> str:
    """The SHA-256 of a part's row numbers, sorted, as little-endian int64: tells whether a part is the same part."""
    return hashlib.sha256(np.sort(rows).astype("<i8").tobytes()).hexdigest()
