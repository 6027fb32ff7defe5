"""Columns of numbers as a network's inputs: filled, encoded, and laid side by side, a block of rows at a time."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fcnet.data.encodings import NumberColumn, encoded
from fcnet.errors import DataError
from fcnet.records import dataclass

Array = NDArray[Any]

CELLS = 1 << 17
"""So many float64 at a time stay in the cache."""
PAIR = 2
"""Pieces that are encoded at a time: NumPy lets other threads run while it computes."""


@dataclass(frozen=True)
class Odd:
    """What was remarkable in a column: how many cells are missing; rows and values outside the range of training."""

    missing: int
    rows: Array
    values: Array


def encode_numbers(
    features: Sequence[NumberColumn],
    chunks: Sequence[list[Array | None]],
    file: str,
    rows: Array | None,
    out: Array,
    ranges: bool,
    places: Sequence[int],
    marks: Sequence[int | None] = (),
) -> list[Odd]:
    """Write the inputs of the given rows (sorted; default all) into the columns `places` of `out`, and into `marks`,
    where a feature has one, 1 for a missing cell and 0 for others.

    The features have one encoding. `chunks`: for each feature its numbers, piece after piece, cut at the same rows for
    all; each is dropped once it is encoded. Returns what was remarkable of each feature; with `ranges` also what lies
    outside them. DataError where a result is beyond the dtype of `out`.
    """
    sizes = [max(0 if chunk is None else len(chunk) for chunk in piece) for piece in zip(*chunks, strict=True)]
    begins = [0, *itertools.accumulate(sizes)]
    cuts = begins if rows is None else np.searchsorted(rows, begins).tolist()
    piecewise = _Encoding(features, file, out, ranges, places, marks)

    def encode(piece: int) -> tuple[Array, dict[int, list[tuple[Array, Array]]]]:
        inside = None if rows is None else rows[cuts[piece] : cuts[piece + 1]] - begins[piece]
        sources = [chunk[piece] for chunk in chunks]
        found = piecewise.encode(sources, sizes[piece], inside, begins[piece], cuts[piece])
        del sources
        for chunk in chunks:
            chunk[piece] = None
        return found

    with ThreadPoolExecutor(PAIR) as pool:
        done = list(pool.map(encode, range(len(sizes))))
    nothing = (np.zeros(0, dtype=np.int64), np.zeros(0))
    found: list[Odd] = []
    for i in range(len(features)):
        wheres, values = zip(nothing, *(pair for _, outside in done for pair in outside.get(i, [])), strict=True)
        found.append(Odd(int(sum(missing[i] for missing, _ in done)), np.concatenate(wheres), np.concatenate(values)))
    return found


class _Encoding:
    """Pieces of a table on their way into the columns `places` of `out`."""

    def __init__(
        self,
        features: Sequence[NumberColumn],
        file: str,
        out: Array,
        ranges: bool,
        places: Sequence[int],
        marks: Sequence[int | None],
    ) -> None:
        self._features, self._file, self._out, self._ranges = features, file, out, ranges
        self._known = [
            np.array([getattr(feature, key) for feature in features], dtype=np.float64).reshape(-1, 1)
            for key in ("fill", "low", "high")
        ]
        self._encoding = features[0].encoding
        self._state = {key: np.array([feature.state[key] for feature in features]) for key in features[0].state}
        # Features that lie side by side are written as one.
        side_by_side = list(places) == list(range(places[0], places[0] + len(places)))
        self._columns: slice | list[int] = slice(places[0], places[0] + len(places)) if side_by_side else list(places)
        self._marked = [i for i, mark in enumerate(marks) if mark is not None]
        self._marks = [mark for mark in marks if mark is not None]
        self._largest = np.finfo(out.dtype).max

    def encode(
        self, sources: Sequence[Array | None], size: int, inside: Array | None, begin: int, at: int
    ) -> tuple[Array, dict[int, list[tuple[Array, Array]]]]:
        """Write the rows `inside` (default all) of a piece of `size` rows, the first of which is row `begin` of the
        table, from row `at` of `out` on: how many cells of each feature are missing, and (rows, values) out of range.
        """
        fill, low, high = self._known
        k = len(self._features)
        step = max(CELLS // k, 64)
        block = np.empty((k, min(step, size)))
        missing = np.zeros(k, dtype=np.int64)
        outside: dict[int, list[tuple[Array, Array]]] = {}
        whole = inside is None or len(inside) == size  # sorted and different, so these are all
        count = size if inside is None else len(inside)
        for start in range(0, count, step):
            stop = min(start + step, count)
            v = block[:, : stop - start]
            picked = slice(start, stop) if whole else inside[start:stop]  # type: ignore[index]  # not None
            for i, source in enumerate(sources):
                assert source is not None
                v[i] = source[picked]
            if self._marks:
                self._out[at + start : at + stop, self._marks] = np.isnan(v[self._marked]).T
            top, bottom = v.max(axis=1), v.min(axis=1)
            holes = None
            if np.isnan(top).any():
                holes = np.isnan(v)
                missing += holes.sum(axis=1)
                np.copyto(v, fill, where=holes)
                top, bottom = v.max(axis=1), v.min(axis=1)
            if self._ranges:
                for i in np.flatnonzero((bottom < low[:, 0]) | (top > high[:, 0])).tolist():
                    beyond = (v[i] < low[i]) | (v[i] > high[i])
                    odd = np.flatnonzero(beyond if holes is None else beyond & ~holes[i])
                    where = begin + (odd + start if whole else inside[start + odd])  # type: ignore[index]  # not None
                    outside.setdefault(i, []).append((where, v[i][odd]))
            # Every encoding keeps the order, so the ends of a column are where its ends go.
            with np.errstate(over="ignore", invalid="ignore"):
                ends = encoded(self._encoding, np.stack([bottom, top], axis=1), self._state)
            far = ~(np.abs(ends) <= self._largest).all(axis=1)
            if far.any():
                name = self._features[int(np.argmax(far))].name
                why = f'column "{name}": its values are too far apart for {self._out.dtype}'
                raise DataError(why, file=self._file)
            with np.errstate(over="ignore"):
                self._out[at + start : at + stop, self._columns] = encoded(self._encoding, v, self._state).T
        return missing, outside
