"""Reading with polars gives what the exact reader gives, cell for cell and bit for bit, or nothing."""

from __future__ import annotations

import csv
import gzip
import io
import struct
import threading
import time
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fcnet.data import Tally, stream
from fcnet.data.ahead import ahead
from fcnet.data.bulk import frame, plain_numbers
from fcnet.data.delimited import Delimited
from fcnet.data.numbers import Grammar
from fcnet.data.opened import Opened
from fcnet.data.problems import Problems
from fcnet.data.statistics import median
from fcnet.errors import DataError

pytest.importorskip("polars")

NUMBERS = st.one_of(
    st.integers(-(10**20), 10**20).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.binary(min_size=8, max_size=8).map(lambda b: repr(struct.unpack("<d", b)[0])),
    st.decimals(allow_nan=False, allow_infinity=False).map(str),
    st.sampled_from(
        ["", " 1", "1 ", "+.5", "5.", "1E+5", "1e999", "inf", "nan", "-", "NA", "1_0", "0x1", "  ", "1e-400"]
    ),
)
TEXTS = st.text(st.sampled_from("ab ,;\t\"#\\'é\u00a0\u2028\x0b\x1f\r1.e-"), max_size=5)
TABLES = st.lists(st.tuples(NUMBERS, st.one_of(TEXTS, NUMBERS), NUMBERS), min_size=1, max_size=8)


def same(text: str, delimiter: str, numbers: set[int], width: int = 3) -> bool:
    """Whether polars was trusted; if so, everything must be as the csv module and the grammar have it."""
    grammar = Grammar(limit=float(np.finfo(np.float32).max))
    return agrees(frame(text.encode(), delimiter, width, grammar, numbers), text, delimiter, grammar, numbers, width)


def agrees(found, text: str, delimiter: str, grammar: Grammar, numbers: set[int], width: int = 3) -> bool:
    """Whether a block was found; if so, everything in it must be as the csv module and the grammar have it."""
    if found is None:
        return False
    records = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    assert [len(record) for record in records] == [width] * len(found.lines)
    for j in range(width):
        cells = [record[j] for record in records]
        assert list(found.cells(j)) == cells
        codes, levels = found.coded(j)
        assert [levels[code] for code in codes] == cells
        assert levels == list(dict.fromkeys(cells))
        values = found.numbers(j)
        assert (values is not None) == (j in numbers)
        if values is not None:
            want, bad = grammar.parse(cells)
            assert not bad
            assert np.array_equal(values, want, equal_nan=True)
            assert np.array_equal(np.signbit(values), np.signbit(want))
    return True


@settings(max_examples=400, deadline=None)
@given(TABLES, st.sampled_from(",;\t|"), st.sets(st.integers(0, 2)))
def test_what_polars_reads_is_what_the_exact_reader_reads(table, delimiter, numbers):
    """Cells, numbers and their signs agree wherever the block is taken; everything else is left alone."""
    same("".join(delimiter.join(row) + "\n" for row in table), delimiter, numbers)


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.tuples(NUMBERS, st.one_of(NUMBERS, st.just("")), NUMBERS), min_size=1, max_size=8),
    st.sampled_from(",;\t|n "),
    st.sampled_from(".,"),
)
def test_what_numpy_reads_is_what_the_exact_reader_reads(table, delimiter, decimal):
    """Without polars too cells and numbers agree wherever the block is taken, with gaps and with decimal commas."""
    grammar = Grammar(decimal=decimal, limit=float(np.finfo(np.float32).max))
    text = "".join(delimiter.join(cell.replace(".", decimal) for cell in row) + "\n" for row in table)

    found = plain_numbers(text.encode(), delimiter, 3, grammar)

    agrees(found, text, delimiter, grammar, {0, 1, 2})


@pytest.mark.parametrize("text", ["1,2.5,-3\n", ",,\n", "1,,,,2\n,,,,\n", "1,,\n,,2.5\n,1,\n", "1e5,+.5,5.\n,0.1,-0\n"])
def test_plain_numbers_are_taken_without_polars(text):
    """The comparison with NumPy's reader is not empty: ordinary blocks, gaps anywhere, do go the fast way."""
    width = 1 + text.partition("\n")[0].count(",")

    found = plain_numbers(text.encode(), ",", width, Grammar())

    assert agrees(found, text, ",", Grammar(), set(range(width)), width)


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from('12.e-,\n\n" x'), min_size=1, max_size=30), st.integers(1, 3))
def test_rows_of_any_width_are_seen(text, width):
    """Short rows, long rows and blank lines are never taken for rows, whatever they hold."""
    same(text.rstrip("\n") + "\n", ",", set(range(width)), width)


@pytest.mark.parametrize(
    "text",
    [
        "1,2,3\n",
        "1,,3\n,5,\n",
        "1,x,3\n2,é y,4\n",
        "9007199254740993,a,4.9e-324\n",
        "0.1000000000000000055511151231257827,b,-0\n",
    ],
)
def test_plain_tables_are_taken(text):
    """The comparison is not empty: ordinary blocks do go the fast way."""
    assert same(text, ",", {0, 2})


@pytest.mark.parametrize(
    "text",
    [
        "1,2\n",
        "1,2,3,4\n",
        "1,2,3\n4,5\n6,7,8,9\n",
        "1,2,3\n\n4,5,6\n",
        '1,"2",3\n',
        "1,2\0,3\n",
        "1,2\r3,4\n",
        "inf,2,3\n",
        "1,2,nan\n",
        "1,2,1e39\n",
        "1,2,x\n",
        "1," + "z" * 140_000 + ",3\n",
    ],
)
def test_doubtful_blocks_are_left_to_the_exact_reader(text):
    """Wrong widths, quotes, control characters and cells that are no numbers are not polars' business."""
    assert not same(text, ",", {0, 2})
    assert frame(text.encode() + b"1,\xff,3\n", ",", 3, Grammar(), {0}) is None


def test_the_data_set_is_the_same_with_and_without_polars(folder, monkeypatch):
    """Numbers, gaps, texts that turn up late, labels: every array and every notice agrees, bit for bit."""
    rng = np.random.default_rng(0)
    names = ["red", "green", "blue"]
    lines = [
        f"{rng.normal()},{'' if i % 50 == 0 else i % 7},{names[i % 3]},{i if i < 3000 else f't{i % 5}'},{i % 4}"
        for i in range(6000)
    ]
    text = "\n".join(["a,b,c,late,y", *lines]) + "\n"
    monkeypatch.setattr("fcnet.data.delimited.BLOCK", 1 << 14)
    slow = folder.load(text, validation=0.2, categorical=["late"])
    monkeypatch.setattr("fcnet.data.bulk.LARGE", 0)

    fast = folder.load(text, validation=0.2, categorical=["late"])

    assert np.array_equal(fast.x, slow.x)
    assert np.array_equal(fast.y, slow.y)
    assert fast.notices == slow.notices
    assert fast.encoder == slow.encoder
    assert fast.target.classes == slow.target.classes
    path = folder.path / "t.csv"
    streamed = stream(path, fast.resolved, fast.encoder, fast.target, Tally(), keep=["a", "c"])
    pieces = list(streamed)
    assert np.array_equal(np.concatenate([inputs.x for inputs, _ in pieces]), slow.x)
    assert [cell for _, kept in pieces for cell in kept["a"]] == [line.split(",")[0] for line in lines]


def test_a_first_record_that_is_data_belongs_to_the_block(folder, monkeypatch):
    """Without a header the first line is a row, with its number, in the fast way too."""
    text = "1,2,3\n" * 5 + "4,x!,3\n"
    monkeypatch.setattr("fcnet.data.bulk.LARGE", 0)

    assert len(folder.load("7,2,3.5\n" + "1,2,3\n" * 50, header=False, target=-1).x) == 51
    with pytest.raises(DataError) as error:
        folder.load(text + "1,2,3\n" * 60, header=False, target=-1)
    assert [problem.line for problem in error.value.problems] == [6]


def test_a_record_over_several_blocks_is_one_though_its_middle_looks_like_rows(folder, monkeypatch):
    """Blocks are converted before it is known that a quoted field runs through them; then they are read again."""
    monkeypatch.setattr("fcnet.data.delimited.BLOCK", 64)
    middle = "\n" + "1,2,3\n" * 60
    path = folder.write("a,b,c\n" + "4,5,6\n" * 50 + f'7,"{middle}",9\n' + "1,2,3\n" * 50 + "1,2\n")
    problems = Problems("t.csv")

    with Opened(path, "t.csv") as opened:
        blocks = list(Delimited(opened, Grammar(), problems).blocks())

    cells = [cell for block in blocks for cell in block.cells(1)]
    assert cells == ["5"] * 50 + [middle] + ["2"] * 50
    assert [int(line) for block in blocks for line in block.lines] == [*range(2, 53), *range(114, 164)]
    assert [problem.line for problem in problems.error().problems] == [164]


def test_what_is_wrong_first_is_said_first_though_more_was_read(folder, monkeypatch):
    """A file that cannot be read to its end is looked through to there before that is said."""
    monkeypatch.setattr("fcnet.data.delimited.BLOCK", 1 << 12)
    numbers = np.random.default_rng(0).integers(0, 10**6, 40_000).tolist()
    lines = ["a,b,y", *(f"{i},{i + 1},{i % 2}" for i in numbers)]
    whole = gzip.compress("\n".join(lines).encode())
    cut = whole[: len(whole) * 3 // 4]
    n = zlib.decompressobj(31).decompress(cut).count(b"\n")
    lines[n - 300] = "1,\0,0"

    damaged = gzip.compress("\n".join(lines).encode())
    with pytest.raises(DataError, match="ends in the middle"):
        folder.load(cut, "t.csv.gz")
    with pytest.raises(DataError, match=f":{n - 299}: a NUL character"):
        folder.load(damaged[: len(damaged) * 3 // 4], "t.csv.gz")


def test_a_thread_ahead_hands_on_items_errors_and_the_wish_to_stop():
    """Items come in order, then the error; closing ends the thread before all are made."""
    made = []

    def items(n):
        for i in range(n):
            made.append(i)
            yield i
        raise DataError("broken")

    got = []
    with pytest.raises(DataError, match="broken"):
        got.extend(ahead(items(5)))
    few = ahead(items(10_000))
    next(few)
    few.close()

    assert made[:5] == [0, 1, 2, 3, 4]
    assert len(made) < 100


@pytest.mark.parametrize("begins", ["before", "after"])
def test_a_signal_while_the_thread_starts_leaves_nothing_running(monkeypatch, begins):
    """The items can be closed at once, whether the thread had begun with them or not."""
    start, held = threading.Thread.start, threading.Event()

    def interrupted(thread):
        run = thread.run
        thread.run = lambda: (held.wait(), run())
        start(thread)
        if begins == "before":
            held.set()
            while not made:
                time.sleep(0.001)
        raise KeyboardInterrupt

    def items():
        for i in range(10):
            made.append(i)
            time.sleep(0.05)
            yield i

    made = []
    monkeypatch.setattr(threading.Thread, "start", interrupted)
    source = items()

    with pytest.raises(KeyboardInterrupt):
        next(ahead(source))
    source.close()
    held.set()

    assert len(made) <= (3 if begins == "before" else 0)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["normal", "whole", "sorted", "heavy"]), st.integers(1, 30_000))
def test_the_median_is_that_of_numpy(seed, kind, n):
    """Whatever the values and their order, the median is numpy's to the bit."""
    values = np.random.default_rng(seed).standard_cauchy(n)
    if kind == "whole":
        values = np.round(values)
    elif kind == "sorted":
        values.sort()
    elif kind == "heavy":
        values[: n // 2] = 1.0

    assert median(values) == np.median(values)
