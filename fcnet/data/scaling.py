"""Columns of numbers as a network's inputs: filled, standardised, and laid side by side, a block of rows at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fcnet.errors import DataError

Array = NDArray[Any]

CELLS = 1 << 17
"""So many float64 at a time stay in the cache."""


class Scaled(Protocol):
    """What is known of a column of numbers."""

    @property
    def name(self) -> str:
        """The column."""

    @property
    def fill(self) -> float:
        """What stands in for a missing value."""

    @property
    def mean(self) -> float:
        """What is subtracted."""

    @property
    def scale(self) -> float:
        """What divides."""

    @property
    def low(self) -> float:
        """The least value of training."""

    @property
    def high(self) -> float:
        """The greatest value of training."""


@dataclass(frozen=True)
class Odd:
    """What was remarkable in a column: how many cells are missing; rows and values outside the range of training."""

    missing: int
    rows: Array
    values: Array


def encode_numbers(
    features: Sequence[Scaled],
    chunks: Sequence[list[Array | None]],
    file: str,
    rows: Array | None,
    out: Array,
    ranges: bool,
    places: Sequence[int],
) -> list[Odd]:
    """Write (value − mean) / scale of the given rows (sorted; default all) into the columns `places` of `out`.

    `chunks`: for each feature its numbers, piece after piece, cut at the same rows for all; each is dropped once it is
    encoded. Returns what was remarkable of each feature; with `ranges` also what lies outside them. DataError where a
    result is beyond the dtype of `out`.
    """
    fill, mean, scale, low, high = (
        np.array([getattr(feature, key) for feature in features], dtype=np.float64).reshape(-1, 1)
        for key in ("fill", "mean", "scale", "low", "high")
    )
    k = len(features)
    step = max(CELLS // k, 64)
    largest = np.finfo(out.dtype).max
    # Features that lie side by side are written as one.
    side_by_side = list(places) == list(range(places[0], places[0] + k))
    columns: slice | list[int] = slice(places[0], places[0] + k) if side_by_side else list(places)
    block = np.empty((k, step))
    missing = np.zeros(k, dtype=np.int64)
    outside: dict[int, list[tuple[Array, Array]]] = {}
    begin = at = 0
    for piece in range(max(map(len, chunks))):
        sources = [chunk[piece] for chunk in chunks]
        size = max(0 if source is None else len(source) for source in sources)
        if rows is None:
            inside = np.arange(0)
            count = size
        else:
            inside = rows[np.searchsorted(rows, begin) : np.searchsorted(rows, begin + size)] - begin
            count = len(inside)
        whole = count == size  # sorted and different, so these are all
        for start in range(0, count, step):
            stop = min(start + step, count)
            v = block[:, : stop - start]
            picked = slice(start, stop) if whole else inside[start:stop]
            for i, source in enumerate(sources):
                assert source is not None
                v[i] = source[picked]
            top, bottom = v.max(axis=1), v.min(axis=1)
            if np.isnan(top).any():
                holes = np.isnan(v)
                missing += holes.sum(axis=1)
                np.copyto(v, fill, where=holes)
                top, bottom = v.max(axis=1), v.min(axis=1)
            if ranges:
                for i in np.flatnonzero((bottom < low[:, 0]) | (top > high[:, 0])).tolist():
                    odd = np.flatnonzero((v[i] < low[i]) | (v[i] > high[i]))
                    where = begin + (odd + start if whole else inside[start + odd])
                    outside.setdefault(i, []).append((where, v[i][odd]))
            # Subtraction and division keep the order, so the ends of a column are where its ends go.
            ends = (np.stack([bottom, top], axis=1) - mean) / scale
            far = ~(np.abs(ends) <= largest).all(axis=1)
            if far.any():
                i = int(np.argmax(far))
                raise DataError(f'column "{features[i].name}": its values are too far apart for {out.dtype}', file=file)
            v -= mean
            v /= scale
            out[at : at + stop - start, columns] = v.T
            at += stop - start
        begin += size
        for chunk in chunks:
            chunk[piece] = None
    nothing = [(np.zeros(0, dtype=np.int64), np.zeros(0))]
    found: list[Odd] = []
    for i in range(k):
        wheres, values = zip(*outside.get(i, nothing), strict=True)
        found.append(Odd(int(missing[i]), np.concatenate(wheres), np.concatenate(values)))
    return found


def median(values: Array) -> float:
    """The median, as numpy.median has it, of (n,) finite numbers, n > 0, which change places."""
    middle = len(values) // 2
    values.partition(middle)
    if len(values) % 2:
        return float(values[middle])
    return float(np.mean([values[:middle].max(), values[middle]]))
