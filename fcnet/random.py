"""Randomness as raw words of a counter-based generator: a pure function of (seed, purpose, epoch, step, layer).

NumPy promises no stable streams of `Generator` methods across its versions (NEP 19), but the raw words of Philox4x64
are fixed by its definition (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011). Nothing here has
state, so a run that was interrupted meets the same numbers as one that was not.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def key(seed: int, purpose: str, member: int = 0) -> Array:
    """The Philox key, (2,) uint64, for one purpose of one seed: the first 16 bytes of SHA-256("purpose/seed").

    A member of a pack has its own, of "purpose/seed/member"; the first has that of a net alone.
    """
    digest = hashlib.sha256("/".join([purpose, str(seed), *([str(member)] if member else [])]).encode()).digest()
    return np.frombuffer(digest, dtype="<u8", count=2).astype(np.uint64)


def words(n: int, key: Array, a: int = 0, b: int = 0, c: int = 0) -> Array:
    """`n` uint64 words of the stream `key` at the counter (·, a, b, c): coordinates such as epoch, step, layer."""
    counter = np.array([0, a, b, c], dtype=np.uint64)
    raw: Array = np.random.Philox(counter=counter, key=key).random_raw(n)
    return raw


def permutation(n: int, key: Array, a: int = 0) -> Array:
    """A permutation of 0 … n−1, (n,) int64: the order that sorts n words. Ties (chance n²/2⁶⁵) keep their order."""
    return _order(words(n, key, a))


def _order(drawn: Array) -> Array:
    """The stable order that sorts `drawn`, (n,) uint64.

    Their upper bits with their places in the lower ones are sorted in half the time; where no two have the same upper
    bits, that is the order.
    """
    bits = np.uint64(max(len(drawn) - 1, 0).bit_length())
    mask = (np.uint64(1) << bits) - np.uint64(1)
    marked = (drawn & ~mask) | np.arange(len(drawn), dtype=np.uint64)
    marked.sort()
    upper = marked >> bits
    if (upper[1:] == upper[:-1]).any():
        return np.argsort(drawn, kind="stable")
    marked &= mask
    return marked.view(np.int64)


def uniform(n: int, key: Array, a: int = 0, b: int = 0) -> Array:
    """`n` float64 numbers in [0, 1): the upper 53 bits of each word."""
    return (words(n, key, a, b) >> np.uint64(11)) * 2.0**-53


def normal(n: int, key: Array, a: int = 0) -> Array:
    """`n` float64 numbers of N(0, 1), by Box and Muller: √(−2 ln u) cos 2πv and √(−2 ln u) sin 2πv."""
    half = (n + 1) // 2
    u = 1.0 - uniform(half, key, a)  # (0, 1]: its logarithm is finite
    v = uniform(half, key, a, 1)
    radius = np.sqrt(-2.0 * np.log(u))
    both = np.concatenate([radius * np.cos(2 * np.pi * v), radius * np.sin(2 * np.pi * v)])
    return both[:n]
