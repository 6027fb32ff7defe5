"""What an exported script does around its net: it reads a table, finds the categories, and writes predictions.

Only tests call this here: `fcnet export --format python` takes what it needs from this file, and prints the facts
of `Net`, and its `forward`, behind it.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import csv
import gzip
import io
import os
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain, islice
from typing import Any

import numpy as np

from fcnet.data.dialect import BLANK, SAMPLE, squeezed_text
from fcnet.data.layout import TOP, lay_out, plain, separator
from fcnet.data.numbers import Grammar
from fcnet.data.spelling import Lookup
from fcnet.records import dataclass, field
from fcnet.runs.predictions import label_cell, number_cells, text_cell

CHUNK = 4096
"""Rows that are read at a time."""

BATCH, FEW = 256, 16
"""Rows that are computed at a time, as `fcnet predict` does: of products of other shapes the last digits differ."""


class WrongData(Exception):
    """What is wrong with a table, as the command says it."""


@dataclass(frozen=True)
class Net:
    """A net and the table that it knows. `columns`: for each column None, or the levels of its categories, of which
    `missing` has the place of missing cells. `threshold`: above it the second of two classes is decided for. `told`:
    name, kind, number and type of each column of the predictions."""

    columns: Mapping[str, Sequence[str] | None]
    missing: Mapping[str, int]
    names: Sequence[str]
    targets: Sequence[str]
    classes: Sequence[Any]
    threshold: float
    told: Sequence[tuple[str, str, int, str]]
    grammar: Grammar
    delimiter: str
    header: bool
    forward: Callable[[Mapping[str, Any]], Any] = field(repr=False)

    @cached_property
    def lookups(self) -> dict[str, Lookup]:
        """What finds the levels of each column of categories."""
        return {name: Lookup(levels) for name, levels in self.columns.items() if levels is not None}

    def places(self, name: str, cells: Iterable[Any], unseen: dict[str, int] | None = None) -> Any:
        """The places (n,) of cells among a column's levels, −1 for what training has not seen."""
        known: dict[Any, int] = {}
        lookup, found = self.lookups[name], []
        for cell in cells:
            if cell not in known:
                blank = cell is None or cell != cell or self.grammar.is_missing(str(cell))
                at = self.missing.get(name, -1) if blank else lookup.find(cell)
                known[cell] = -2 if at is None else at
            found.append(known[cell])
            if known[cell] == -2 and unseen is not None:
                unseen[name] = unseen.get(name, 0) + 1
        return np.maximum(np.array(found, np.int64), -1)

    def predict(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        """The predictions, (n,) each by their columns' names, of columns of numbers (NaN or None where missing) and of
        texts (None or "" where missing)."""
        rows = {}
        for name, levels in self.columns.items():
            if levels is None:
                rows[name] = np.array([np.nan if v is None else v for v in columns[name]], np.float64)
            else:
                rows[name] = self.places(name, columns[name])
        return self.tell(rows)

    def tell(self, rows: Mapping[str, Any]) -> dict[str, Any]:
        """The same of numbers and places."""
        n = len(next(iter(rows.values())))
        with np.errstate(all="ignore"):
            p = np.concatenate([self.batch(rows, start, min(start + BATCH, n)) for start in range(0, n or 1, BATCH)])
            return {name: self.cell(p, what, i, dtype) for name, what, i, dtype in self.told}

    def batch(self, rows: Mapping[str, Any], start: int, stop: int) -> Any:
        """What the net makes of some rows, which stand in a batch of one of two sizes."""
        size = FEW if stop - start <= FEW else BATCH
        some = {name: np.resize(cells[start:stop], size) for name, cells in rows.items()}
        return np.asarray(self.forward(some))[: stop - start]

    def cell(self, p: Any, what: str, i: int, dtype: str) -> Any:
        """One column of the predictions."""
        if what == "label":
            decided = p.argmax(axis=1) if self.threshold == 0.5 else (p[:, 1] > self.threshold).astype(np.int64)
            return [self.classes[j] for j in decided.tolist()]
        return (p[:, i] > 0.5).astype(np.int64) if what == "yes" else p[:, i].astype(dtype)


def array(dtype: str, shape: Sequence[int], text: str) -> Any:
    """An array from its bytes, which are written in 85 letters."""
    return np.frombuffer(base64.b85decode(text.replace("\n", "")), dtype).reshape(shape)


def begins(net: Net, top: Sequence[str], file: str) -> tuple[int, str]:
    """How many of a CSV's first lines stand above its table, and the delimiter: the table begins where all names are
    that the net needs. A first line `sep=;` names the delimiter, as Excel writes and reads it."""
    named = separator(top[0]) if top else None
    above = int(named is not None)
    marks = [named] if named else [net.delimiter, *(mark for mark in ",;\t|" if mark != net.delimiter)]
    for i in range(above, len(top) if net.header else above):
        for mark in marks:
            record = next(numbered(csv.reader(apart(top[i:], mark), delimiter=mark), i, file), (0, []))
            if {*net.columns} <= {name.strip() for name in record[1]}:
                return i, mark
    return above, marks[0]


def apart(lines: Iterable[str], mark: str) -> Iterable[str]:
    """Lines whose fields `mark` separates; a blank stands for runs of blanks and tabs."""
    return map(squeezed_text, lines) if mark == BLANK else lines


def reading(net: Net, lines: Iterable[str], file: str) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """The names of a CSV's columns, and its rows with the lines at which they begin: the cells below the names."""
    source = iter(lines)
    top = [*islice(source, TOP)]
    above, mark = begins(net, top, file)
    records = numbered(csv.reader(apart(chain(top[above:], source), mark), delimiter=mark, strict=True), above, file)
    head = next(records, (1, []))[1] if net.header else []
    first = [*islice(records, SAMPLE)]
    sample = [fields for _, fields in first]
    layout = lay_out(head, sample) if net.header else plain(len(sample[0]) if sample else 0)
    names = [*layout.names]
    if not net.header:
        without = [name for name in net.names if name not in net.targets]
        names = next(([*each] for each in (net.names, without) if len(each) == layout.width), names)
    missing = [name for name in net.columns if name not in names]
    if missing:
        raise WrongData(f"{file}: it lacks the columns " + ", ".join(f'"{name}"' for name in missing))
    twice = next((name for name, n in Counter(names).items() if n > 1), None)
    if twice is not None:
        raise WrongData(f'{file}: two columns are named "{twice}"')

    def rows() -> Iterator[tuple[int, list[str]]]:
        for line, fields in chain(first, records):
            if fields == head:
                continue  # a header that is repeated
            if len(fields) != layout.width:
                has = "the header has" if layout.width == len(names) else "the table has"
                raise WrongData(f"{file}:{line}: {len(fields)} fields, and {has} {layout.width}")
            yield line, [fields[i] for i in layout.places]

    return names, rows()


def numbered(reader: Any, above: int, file: str) -> Iterator[tuple[int, list[str]]]:
    """The records of a CSV that are not blank, with the lines at which they begin; WrongData where one is broken."""
    line = above + 1
    try:
        for fields in reader:
            if fields:
                yield line, fields
            line = reader.line_num + above + 1
    except csv.Error as error:
        raise WrongData(f"{file}:{line}: {error}") from None


Rows = Sequence[tuple[int, list[str]]]


def encoded(net: Net, names: Sequence[str], rows: Rows, file: str, unseen: dict[str, int]) -> Any:
    """Numbers, and places of categories, of some rows of a CSV; WrongData for a cell that is no number."""
    found = {}
    for name, levels in net.columns.items():
        at = names.index(name)
        cells = [fields[at] for _, fields in rows]
        if levels is None:
            found[name], bad = net.grammar.parse(cells)
            if bad:
                raise WrongData(f'{file}:{rows[bad[0]][0]}: column "{name}": "{cells[bad[0]]}" is not a number')
        else:
            found[name] = net.places(name, cells, unseen)
    return found


def written(net: Net, made: Mapping[str, Any]) -> str:
    """The lines of some predictions."""
    texts = []
    for name, what, _, _ in net.told:
        texts.append([*map(label_cell, made[name])] if what == "label" else number_cells(made[name]))
    return "".join(",".join(row) + "\n" for row in zip(*texts, strict=True))


def lines(net: Net, text: Iterable[str], file: str, unseen: dict[str, int]) -> Iterator[str]:
    """The predictions for a CSV, some rows at a time; the first piece is the header."""
    names, rows = reading(net, text, file)
    yield ",".join(text_cell(name) for name, *_ in net.told) + "\n"
    while chunk := [*islice(rows, CHUNK)]:
        yield written(net, net.tell(encoded(net, names, chunk, file, unseen)))


@contextlib.contextmanager
def opened(path: str) -> Iterator[Any]:
    """A file to write, which stands under its name once it is whole; what is no plain file is written to as it is."""
    whole = os.path.realpath(path)
    if os.path.exists(whole) and not os.path.isfile(whole):
        with open(whole, "w", encoding="utf-8", newline="\n") as out:
            yield out
        return
    part = f"{whole}.{os.getpid()}.part"
    out = open(part, "x", encoding="utf-8", newline="\n")  # noqa: SIM115  # whose file it is, is known before any is removed
    try:
        with out:
            yield out
        os.replace(part, whole)
    except BaseException:
        with contextlib.suppress(OSError):
            os.remove(part)
        raise


def main(net: Net, arguments: Sequence[str] | None = None) -> int:
    """The command line: predictions for a CSV, as `fcnet predict INPUT.csv -o -` writes them."""
    parser = argparse.ArgumentParser(description="Predict for every row of a table.")
    parser.add_argument("input", metavar="INPUT.csv", help="the table; - is stdin, and .gz is unpacked")
    parser.add_argument("-o", "--output", metavar="FILE", default="-", help="the file to write; default: stdout")
    parser.add_argument("-q", "--quiet", action="store_true", help="no notices")
    asked = parser.parse_args(arguments)
    stdin, stdout, unseen = asked.input == "-", asked.output == "-", dict[str, int]()
    if all(map(os.path.exists, (asked.input, asked.output))) and os.path.samefile(asked.input, asked.output):
        parser.error(f"-o {asked.output} is the input")
    try:
        with open(0 if stdin else asked.input, "rb", closefd=not stdin) as raw:
            unpacked: Any = gzip.GzipFile(fileobj=raw) if asked.input.endswith(".gz") else raw
            text = io.TextIOWrapper(unpacked, "utf-8-sig", newline="")
            made = lines(net, text, "stdin" if stdin else asked.input, unseen)
            first = [next(made), next(made, "")]  # nothing is written before the first rows are known to be right
            with open(1, "w", encoding="utf-8", newline="\n", closefd=False) if stdout else opened(asked.output) as out:
                out.writelines(chain(first, made))
    except BrokenPipeError:  # the reader has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141
    except UnicodeDecodeError:
        sys.stderr.write(f"{asked.input}: it is not UTF-8\n")
        return 4
    except (EOFError, gzip.BadGzipFile, zlib.error):
        sys.stderr.write(f"{asked.input}: it is no gzip file, or not all of one\n")
        return 4
    except (WrongData, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 4
    for name, n in unseen.items() if not asked.quiet else ():
        cells = "1 cell holds a category" if n == 1 else f"{n:,} cells hold categories"
        sys.stderr.write(f'notice: column "{name}": {cells} that training has not seen\n')
    return 0
