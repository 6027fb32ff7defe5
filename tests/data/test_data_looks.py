"""Columns of numbers that are written as texts: what is said of them, and that the cure shown makes numbers of them."""

from __future__ import annotations

import json
import shlex
from datetime import datetime, timedelta

import numpy as np
import pytest

from fcnet.data.encodings.none import Plain
from fcnet.data.options import Preprocess
from fcnet.errors import DataError

N = 60
RAW = Preprocess(numeric=Plain())


def table(cells: list[str], delimiter: str = ",", header: str = "v") -> str:
    quoted = ['"' + cell.replace('"', '""') + '"' for cell in cells]
    head = '"' + header.replace('"', '""') + '"'
    rows = [f"{cell}{delimiter}{i % 7}{delimiter}{'uvw'[i % 3]}" for i, cell in enumerate(quoted)]
    return "\n".join([f"{head}{delimiter}b{delimiter}y", *rows]) + "\n"


def said_of(found, column: str = "v") -> str:
    (notice,) = (notice for notice in found.notices if notice.startswith(f'column "{column}"'))
    return notice


MARKS = [
    pytest.param(["Not Available"], id="words"),
    pytest.param(["#DIV/0!", "#N/A"], id="spreadsheet"),
    pytest.param(["\\N"], id="mysql"),
    pytest.param(["it's", 'a "quote"', "back\\slash", "$HOME", "`x`"], id="signs-of-a-shell"),
]


@pytest.mark.parametrize("marks", MARKS)
@pytest.mark.parametrize("share", [2, 3, 8])
def test_marks_among_numbers_are_counted_and_the_key_shown_reads_them(folder, marks, share):
    """How many cells are numbers, what stands in the others, and `data.missing` as a shell takes it."""
    cells = [marks[i // share % len(marks)] if i % share == 0 else f"{i * 1.25}" for i in range(N)]
    odd = sum(cell in marks for cell in cells if cell != "#N/A")

    notice = said_of(folder.load(table(cells)))
    (word,) = shlex.split(notice[notice.rindex("'data.missing=") :] if "'data" in notice else notice.split("set ")[-1])
    key, _, value = word.partition("=")
    found = folder.load(table(cells), missing=json.loads(value))

    assert f"{N - sum(cell in marks for cell in cells)} of {N - cells.count('#N/A')} cells are numbers" in notice
    assert sum(f'"{mark}" (' in notice for mark in marks) == len(marks) - (marks[-1] == "#N/A")
    assert odd > 0
    assert key == "data.missing"
    assert found.encoder.features[0].kind == "number"
    assert not any("left out" in said for said in found.notices)


def test_texts_that_are_listed_as_missing_add_to_the_usual_ones(folder):
    """A mark listed for one column leaves NA and the like what they are in columns of numbers."""
    text = "a,c,y\n" + "".join(f"{'bad' if i == 3 else i % 9},{'NA' if i == 5 else i % 7},{i % 2}\n" for i in range(N))

    found = folder.load(text, missing=["bad"])

    assert 'missing cells: "a" 1, "c" 1' in found.notices
    assert [feature.kind for feature in found.encoder.features] == ["number", "number"]


def test_a_second_cure_keeps_the_first(folder):
    """The list that is shown holds the texts that the config lists already."""
    text = table(["bad" if i % 4 == 0 else "odd" if i % 4 == 1 else f"{i * 1.25}" for i in range(N)])

    assert 'data.missing=["bad", "odd"]' in said_of(folder.load(text, missing=["bad"]))


def test_marks_and_another_spelling_are_cured_together(folder):
    """Thousands marks beside a mark of missing cells: both keys are shown."""
    cells = ["n.a." if i % 3 == 0 else f"{i + 1},{i:03}" for i in range(N)]

    notice = said_of(folder.load(table(cells)))

    assert notice.endswith("or set data.thousands=, 'data.missing=[\"n.a.\"]'")
    assert folder.load(table(cells), thousands=",", missing=["n.a."]).encoder.features[0].kind == "number"


DAY = datetime(2026, 1, 5, 7, 30)  # noqa: DTZ001  as files have it
CONVERTED = [
    pytest.param(lambda i: f"${1000 + i * 37:,}.50", lambda i: 1000.5 + i * 37, "money", id="dollars"),
    pytest.param(lambda i: f"-€ {i}", lambda i: -i, "money", id="euros"),
    pytest.param(lambda i: f"{i}.234,5{i % 10} €", lambda i: i * 1000 + 234.5 + i % 10 / 100, "money", id="comma"),
    pytest.param(lambda i: f"USD {i * 3}", lambda i: i * 3, "money", id="code"),
    pytest.param(lambda i: f"{i * 0.25:.2f}%", lambda i: i * 0.25, "per cent", id="per-cent"),
    pytest.param(lambda i: f"{i},5 %", lambda i: i + 0.5, "per cent", id="per-cent-comma"),
    pytest.param(lambda i: f"{i}.5D+02", lambda i: i * 100 + 50, "numbers with Fortran's D exponent", id="fortran"),
    pytest.param(lambda i: f"{i + 1} month{'s' if i else ''}", lambda i: i + 1, "numbers with a unit", id="months"),
    pytest.param(lambda i: f"{i}.5kg", lambda i: i + 0.5, "numbers with a unit", id="kg"),
    *(
        pytest.param(
            lambda i, form=form: (DAY + timedelta(days=i * 9, hours=5 * i * ("%H" in form))).strftime(form),
            lambda i, form=form: (
                (
                    datetime.strptime((DAY + timedelta(days=i * 9, hours=5 * i * ("%H" in form))).strftime(form), form)  # noqa: DTZ007
                    - datetime(1970, 1, 1)  # noqa: DTZ001
                )
                / timedelta(days=1)
            ),
            f"dates of the form {form}",
            id=form,
        )
        for form in ("%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y %H:%M", "%Y-%m-%dT%H:%M:%S", "%d-%b-%Y", "%B %d, %Y")
    ),
    pytest.param(lambda i: f"{i % 24:02}:{i:02}", lambda i: i % 24 + i / 60, "times of the form %H:%M", id="times"),
]


@pytest.mark.parametrize(("cell", "number", "what"), CONVERTED)
@pytest.mark.parametrize("delimiter", [",", "\t"])
def test_money_units_and_dates_are_named_and_the_command_shown_makes_numbers(
    folder, cell, number, what, delimiter, monkeypatch
):
    """The notice says what the cells are, shows one, and ends with a command whose file holds the numbers."""
    pytest.importorskip("pandas")
    monkeypatch.chdir(folder.path)
    name = 'it\'s "v"'
    text = table([cell(i) for i in range(N)], delimiter, header=name)

    notice = said_of(folder.load(text), name)
    command = notice[notice.index("python -c ") :]
    python, option, script = shlex.split(command)
    exec(script, {"__name__": "__main__"})
    found = folder.load((folder.path / "t.clean.csv").read_text(), "again.csv", preprocess=RAW, features=[name, "b"])

    assert (python, option) == ("python", "-c")
    assert f'the cells are {what} ("{cell(0)}", …)' in notice
    assert np.allclose(found.x[:, 0], [number(i) for i in range(N)], rtol=1e-6)


def test_a_target_of_money_is_said_to_be_money(folder):
    """A target of which most labels are different names the reason, and the command."""
    text = "b,v\n" + "".join(f'{i % 7},"${i},000"\n' for i in range(N))

    with pytest.raises(DataError, match=r'60 distinct labels on 60 rows; the cells are money \("\$0,000", …\); make'):
        folder.load(text, target="v")


@pytest.mark.parametrize(
    "cells",
    [
        pytest.param([f"person {i}" for i in range(N)], id="names"),
        pytest.param([f"A{i}" for i in range(N)], id="codes"),
        pytest.param([f"{i} High Street" for i in range(N)], id="addresses"),
        pytest.param([f"{i}{'abc'[i % 3]}" for i in range(N)], id="flats"),
        pytest.param(["1st", "2nd", "3rd"] * 20, id="ranks"),
        pytest.param(["a1", "b"] * 30, id="few"),
        pytest.param([f"0{i % 7}:{i}:4:9" for i in range(N)], id="addresses-of-machines"),
    ],
)
def test_texts_are_not_said_to_be_numbers(folder, cells):
    """Names, codes and addresses get no cure that would not help."""
    found = folder.load(table(cells))

    assert not any("are numbers" in said or "cells are" in said for said in found.notices)


def test_strict_and_errors_carry_the_same_words(folder):
    """What is a notice without `--strict` is the error with it."""
    text = table(["n.a." if i % 2 else f"{i * 1.25}" for i in range(N * 2)])

    with pytest.raises(
        DataError, match=r'"n.a." \(60\), the first in line 3; list it under data.categorical .* or set .data.missing='
    ):
        folder.load(text, strict=True)


def test_of_what_came_from_stdin_no_command_makes_numbers(folder):
    """A table that a pipe gave is not there any more: what is to be done is said without a command."""
    cells = [f"${i}.50" for i in range(N)]

    said = {name: said_of(folder.load(table(cells), name)) for name in ("stdin.csv", "t.csv")}

    assert said["stdin.csv"].endswith("or make numbers of them")
    assert "python -c" in said["t.csv"]
