"""The random words are Philox's by its definition, and everything drawn from them is a pure function of its place."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcnet import random
from fcnet.random import key, normal, permutation, uniform, words

MASK = 2**64 - 1


def philox(counter: tuple[int, ...], k: tuple[int, int]) -> tuple[int, ...]:
    """One block of Philox4x64-10, in whole numbers, as Salmon et al. (2011) define it."""
    c0, c1, c2, c3 = counter
    k0, k1 = k
    for _ in range(10):
        p0, p1 = 0xD2E7470EE14C6C93 * c0, 0xCA5A826395121157 * c2
        c0, c1, c2, c3 = (p1 >> 64) ^ c1 ^ k0, p1 & MASK, (p0 >> 64) ^ c3 ^ k1, p0 & MASK
        k0, k1 = (k0 + 0x9E3779B97F4A7C15) & MASK, (k1 + 0xBB67AE8584CAA73B) & MASK
    return c0, c1, c2, c3


def test_the_reference_is_philox() -> None:
    """The reference in this file gives the published known answers for zeros and for all ones."""
    assert philox((0, 0, 0, 0), (0, 0)) == (
        0x16554D9ECA36314C,
        0xDB20FE9D672D0FDC,
        0xD7E772CEE186176B,
        0x7E68B68AEC7BA23B,
    )
    assert philox((MASK,) * 4, (MASK,) * 2) == (
        0x87B092C3013FE90B,
        0x438C3C67BE8D0224,
        0x9CC7D7C69CD777B6,
        0xA09CAEBF594F0BA0,
    )


@given(
    st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.integers(0, 40), st.integers(0)
)
def test_words_are_philox_blocks(a: int, b: int, c: int, n: int, seed: int) -> None:
    """Word by word what the definition gives for the counters (1, a, b, c), (2, a, b, c) …"""
    k = key(seed, "test")
    expected = [philox((1 + i, a, b, c), (int(k[0]), int(k[1]))) for i in range(-(-n // 4))]

    assert words(n, k, a, b, c).tolist() == list(itertools.chain.from_iterable(expected))[:n]


def test_a_stream_is_the_same_for_ever() -> None:
    """The first words of some streams, written down: a run of this release can be repeated with the next."""
    assert key(0, "init").tolist() == [13392733018692245420, 3830552499365811809]
    assert words(3, key(0, "init"), 1, 2, 3).tolist() == [0x74C8802D7E7A18C5, 0xDADA5AD6E868D09D, 0xE54BF2D5171DE83C]
    assert permutation(8, key(7, "shuffle"), 2).tolist() == [7, 6, 1, 0, 4, 2, 3, 5]


def test_every_coordinate_moves_the_stream() -> None:
    """Seed, purpose, and each of the three coordinates give different words; the same ones give the same words."""
    streams = [
        words(4, key(seed, purpose), *place)
        for seed, purpose in [(0, "init"), (1, "init"), (0, "dropout"), (2**64, "init")]
        for place in [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
    ]

    assert len({tuple(stream) for stream in streams}) == len(streams)
    np.testing.assert_array_equal(words(4, key(1, "init"), 0, 1), streams[6])


def test_more_words_continue_the_same_stream() -> None:
    """The first n words do not depend on how many are asked for."""
    k = key(3, "test")

    np.testing.assert_array_equal(words(100, k, 5)[:17], words(17, k, 5))


@given(st.integers(0, 300), st.integers(0, 1000))
def test_a_permutation_has_every_number_once(n: int, epoch: int) -> None:
    """0 … n−1, each exactly once, whatever the epoch."""
    assert sorted(permutation(n, key(0, "shuffle"), epoch)) == list(range(n))


def test_equal_words_keep_their_order() -> None:
    """The order is the stable one also where words are equal, whichever way of sorting is the fastest here."""
    drawn = words(5000, key(5, "test"))
    tied = drawn % np.uint64(50)

    np.testing.assert_array_equal(random._order(drawn), sorted(range(5000), key=drawn.tolist().__getitem__))
    np.testing.assert_array_equal(random._order(tied), sorted(range(5000), key=tied.tolist().__getitem__))


def test_permutations_are_equally_likely() -> None:
    """Over 6,000 epochs each of the six orders of three rows comes up about 1,000 times (χ² < 20.5: 1 in 1,000)."""
    counts = dict.fromkeys(itertools.permutations(range(3)), 0)
    for epoch in range(6000):
        counts[tuple(permutation(3, key(1, "shuffle"), epoch).tolist())] += 1

    assert sum((n - 1000) ** 2 / 1000 for n in counts.values()) < 20.5


def test_uniform_numbers() -> None:
    """In [0, 1), with the mean, variance and largest gap of a uniform distribution."""
    u = np.sort(uniform(100_000, key(2, "test")))

    assert u[0] >= 0
    assert u[-1] < 1
    assert abs(u - (np.arange(100_000) + 0.5) / 100_000).max() < 1.95 / np.sqrt(100_000)  # Kolmogorov, 1 in 1,000


@pytest.mark.parametrize("n", [0, 1, 2, 7, 100_001])
def test_normal_numbers(n: int) -> None:
    """Finite, as many as asked for, and with a normal distribution's first four moments."""
    x = normal(n, key(2, "test"))

    assert x.shape == (n,)
    assert np.isfinite(x).all()
    if n > 1000:
        for power, moment, spread in [(1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)]:
            assert abs((x**power).mean() - moment) < 4 * np.sqrt(spread / n)


def test_normal_numbers_of_odd_count_use_the_same_words() -> None:
    """Both halves of Box and Muller's pairs are independent: they do not correlate."""
    x = normal(20_000, key(4, "test"))

    assert abs(np.mean(x[:10_000] * x[10_000:])) < 4 / np.sqrt(10_000)
    assert abs(np.mean(x[:10_000] ** 2 * x[10_000:] ** 2) - 1) < 4 * np.sqrt(8 / 10_000)
