"""Files as other programs write them: what stands around the table, and columns that no name leads to."""

from __future__ import annotations

import shlex
import subprocess

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import fcnet.data.delimited as module
from fcnet.data import Tally, score, stream
from fcnet.data.cures import typed
from fcnet.data.delimited import Delimited
from fcnet.data.numbers import Grammar
from fcnet.data.opened import Opened
from fcnet.data.problems import Problems
from fcnet.errors import DataError, FcnetError

ROWS = [f"{i % 10},{'uvw'[i % 3]},{i}.5" for i in range(60)]
HEAD = "a,c,y"


@pytest.fixture(autouse=True, params=["small-blocks", "polars"])
def _every_way_of_reading(request, monkeypatch):
    """All that is said here holds for blocks that polars reads too."""
    if request.param == "polars":
        pytest.importorskip("polars")
        monkeypatch.setattr("fcnet.data.bulk.LARGE", 0)


def text_of(head: str = HEAD, rows: list[str] = ROWS) -> str:
    return "\n".join([head, *rows]) + "\n"


def aligned(text: str) -> str:
    return "".join("  " + line.replace(",", "   ") + " \n" for line in text.splitlines())


def predicted(source, fitted, tally: Tally | None = None) -> np.ndarray:
    chunks = stream(source, fitted.resolved, fitted.encoder, fitted.target, tally or Tally())
    return np.concatenate([inputs.x for inputs, _ in chunks])


# --- what is taken ---------------------------------------------------------------------------------------------------

TAKEN = [
    pytest.param(
        text_of("," + HEAD, [f"{i},{row}" for i, row in enumerate(ROWS)]),
        "column 1 has no name and is left out: it holds row numbers (0, …)",
        id="pandas-index",
    ),
    pytest.param(
        text_of('"","a","c","y"', [f'"r{i}",{row}' for i, row in enumerate(ROWS)]),
        'column 1 has no name and is left out: it holds "r0", "r1", …; write a name above it to use it',
        id="write.csv",
    ),
    pytest.param(
        text_of("a,,c,y", [row.replace(",", ",z,", 1) for row in ROWS]),
        'column 2 has no name and is left out: it holds "z", "z", …; write a name above it to use it',
        id="in-the-middle",
    ),
    pytest.param(
        text_of("a,,c,y", [row.replace(",", ",,", 1) for row in ROWS]),
        "column 2 has no name and is left out: it is empty",
        id="empty-in-the-middle",
    ),
    pytest.param(
        text_of('"a","c","y"', [f'"{i + 1}",{row}' for i, row in enumerate(ROWS)]),
        'the header has 3 names for 4 columns: the first column ("1", "2", …) is taken for the rows\' names, and left '
        "out",
        id="write.table",
    ),
    pytest.param(
        text_of('"a" "c" "y"', [f'"{i + 1}" {row.replace(",", " ")}' for i, row in enumerate(ROWS)]),
        "runs of blanks separate the fields",
        id="write.table-blanks",
    ),
    pytest.param(text_of(HEAD + ",", [row + "," for row in ROWS]), "every line ends with a delimiter", id="trailing"),
    pytest.param(
        text_of(HEAD, [row + "," for row in ROWS]),
        "every line below the header ends with a delimiter",
        id="trailing-below",
    ),
    pytest.param(text_of(HEAD + ","), "the header ends with a delimiter", id="trailing-header"),
    pytest.param(
        "sep=;\n" + text_of().replace(",", ";"), 'line 1 says that ";" separates the fields', id="sep-semicolon"
    ),
    pytest.param(
        '\ufeff"sep=\t"\r\n' + text_of().replace(",", "\t"), 'line 1 says that "\\t" separates the fields', id="sep-tab"
    ),
    pytest.param("SEP=^\n" + text_of().replace(",", "^"), 'line 1 says that "^" separates the fields', id="sep-other"),
    pytest.param(text_of(HEAD, [*ROWS[:30], HEAD, *ROWS[30:]]), "line 32 repeats the header, and is left out", id="14"),
    pytest.param(
        text_of('"a","c","y"', [*ROWS[:30], "\ufeff" + HEAD, *ROWS[30:], HEAD]),
        "2 lines repeat the header, and are left out; the first is line 32",
        id="joined-with-marks",
    ),
    pytest.param(aligned(text_of()), "runs of blanks separate the fields", id="aligned"),
    pytest.param(aligned(text_of()).replace("\n", "\r\n"), "runs of blanks separate the fields", id="aligned-crlf"),
]


@pytest.mark.parametrize(("text", "said"), TAKEN)
def test_what_is_safe_is_taken_with_a_notice_by_every_command(folder, text, said):
    """Training, scoring and prediction read the table that is meant, and each says what it found."""
    plain = folder.load(text_of())

    found = folder.load(text)
    tally = Tally()
    x = predicted(folder.write(text, "p.csv"), plain, tally)
    scored = score(folder.write(text, "p.csv"), plain.resolved, plain.encoder, plain.target)
    again = folder.load(text, validation="p.csv")

    assert said in found.notices
    assert found.encoder.columns == ("a", "c")
    assert np.array_equal(found.x, plain.x)
    assert np.array_equal(found.y, plain.y)
    assert said in tally.notices()
    assert np.array_equal(x, plain.x)
    assert any(said in notice for notice in scored.notices)
    assert np.array_equal(scored.x, plain.x)
    assert np.array_equal(again.x, np.concatenate([plain.x, plain.x]))
    assert np.array_equal(predicted(folder.path / "p.csv", found), plain.x)


def test_a_net_trained_on_a_file_with_row_numbers_predicts_without_and_the_other_way_round(folder):
    """A column without a name is no part of the net, so a file may have it or not."""
    text = text_of("," + HEAD, [f"{i},{row}" for i, row in enumerate(ROWS)])

    found = folder.load(text)

    assert np.array_equal(predicted(folder.write(text_of(), "p.csv"), found), found.x)
    assert found.resolved.exclude == []


def test_strict_refuses_columns_without_a_name(folder):
    """What is left out with a notice is an error with `--strict`; an empty field at the end of each line is none."""
    text = text_of("," + HEAD, [f"{i},{row}" for i, row in enumerate(ROWS)])
    plain = folder.load(text_of())
    path = folder.write(text, "p.csv")

    with pytest.raises(DataError, match="column 1 has no name"):
        folder.load(text, strict=True)
    with pytest.raises(DataError, match="column 1 has no name"):
        predicted(path, plain, Tally(strict=True))
    with pytest.raises(DataError, match="column 1 has no name"):
        score(path, plain.resolved, plain.encoder, plain.target, strict=True)
    folder.load(text_of(HEAD + ",", [row + "," for row in ROWS]), strict=True)


def test_a_value_behind_the_last_delimiter_is_an_error_with_its_line(folder):
    """Where the lines end with a delimiter, what stands behind it further down is not dropped in silence."""
    rows = [f"{row}," for row in ROWS * 10]
    rows[400] += "x"

    with pytest.raises(DataError) as error:
        folder.load(text_of(HEAD + ",", rows))

    assert [problem.line for problem in error.value.problems] == [402]
    assert '"x" stands in a column without a name' in str(error.value)


def test_blanks_are_a_delimiter_when_they_are_given(folder):
    """`data.delimiter: " "` takes runs of blanks, without a header too, and is recorded."""
    body = aligned("\n".join(ROWS))

    found = folder.load(body, header=False, target=-1, delimiter=" ")
    auto = folder.load(body, header=False, target=-1)

    assert found.resolved.delimiter == auto.resolved.delimiter == " "
    assert np.array_equal(found.x, folder.load(text_of()).x)
    assert np.array_equal(auto.x, found.x)
    assert np.array_equal(predicted(folder.write(body, "p.csv"), found), found.x)
    tabs = aligned(text_of()).replace("   ", "\t ").replace("u", '"u  v"')
    assert np.array_equal(folder.load(tabs, delimiter=" ").x, found.x)
    assert folder.load(tabs, delimiter=" ").encoder.features[1].levels[-1] == "w"


def test_a_tab_is_a_delimiter_as_it_is_typed(folder):
    """`data.delimiter="\\t"` reaches the program as a backslash and a t."""
    assert folder.load(text_of().replace(",", "\t"), delimiter="\\t").encoder.columns == ("a", "c")


@pytest.mark.parametrize("mark", [":", "^", "\\t"])
def test_a_net_predicts_and_is_scored_with_the_delimiter_that_it_was_given(mark, folder):
    """Whatever character a table was trained on with is tried first later, and the usual ones are found still."""
    text = text_of().replace(",", "\t" if mark == "\\t" else mark)

    found = folder.load(text, delimiter=mark)

    again = folder.write(text, "p.csv")
    assert np.array_equal(predicted(again, found), found.x)
    assert np.array_equal(score(again, found.resolved, found.encoder, found.target).x, found.x)
    assert np.array_equal(predicted(folder.write(text_of(), "q.csv"), found), found.x)


@pytest.mark.parametrize(
    "cells",
    [
        pytest.param([f"word{i} other{i}" for i in range(30)], id="texts"),
        pytest.param([f"{i} some words" for i in range(30)], id="another-width"),
        pytest.param([f"2026-01-{i + 1:02} 12:00:00" for i in range(30)], id="times"),
    ],
)
def test_one_column_of_texts_with_blanks_stays_one_column(folder, cells):
    """Blanks in texts separate nothing unless that makes a table of which a column is numbers."""
    with Opened(folder.write("first name\n" + "\n".join(cells) + "\n"), "t.csv") as opened:
        source = Delimited(opened, Grammar(), Problems("t.csv"))

        assert source.names == ("first name",)


# --- lines above the header ------------------------------------------------------------------------------------------

ABOVE = [
    pytest.param("# station 12, exported 2026-03-01\n# units: cm\n", 3, id="comments"),
    pytest.param("% matlab\n%\n% more; text\n", 4, id="percent"),
    pytest.param("// one, two, three, four, five\n", 2, id="slashes"),
    pytest.param("Sales report March,,\n,,\n", 3, id="title-padded"),
    pytest.param("Sales report March\n\n", 3, id="title-and-blank-line"),
    pytest.param('"Exported by ""me"", today"\nfor;all\n', 3, id="quotes"),
    pytest.param("\ufeffName: x\nDate: 1 May, 2026\n", 3, id="with-a-mark"),
]


@pytest.mark.parametrize(("above", "line"), ABOVE)
@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_lines_above_the_header_are_seen_and_the_cure_works(folder, above, line, mark):
    """The error names the line of the header and the key to set, and with it the table is read as without them."""
    text = text_of().replace(",", mark)
    plain = folder.load(text)

    with pytest.raises(DataError) as error:
        folder.load(above + text)
    found = folder.load(above + text, skip=line - 1)

    (problem,) = error.value.problems
    assert problem.text == f'the table seems to begin on line {line} ("a", …); set data.skip={line - 1}'
    assert np.array_equal(found.x, plain.x)
    assert found.resolved.skip == line - 1


@pytest.mark.parametrize(("above", "line"), ABOVE)
def test_a_table_for_a_net_may_have_other_lines_above_than_training(folder, above, line):
    """Where the columns are known, the line that names them is the header, however many stand above it."""
    plain, skipped = folder.load(text_of()), folder.load("# x\n" + text_of(), skip=1)
    path = folder.write(above + text_of(), "p.csv")
    tally = Tally()

    x = predicted(path, plain, tally)

    assert np.array_equal(x, plain.x)
    assert f"the header is on line {line}; what stands above it is passed over" in tally.notices()
    assert np.array_equal(predicted(path, skipped), plain.x)
    assert np.array_equal(predicted(folder.write(text_of(), "q.csv"), skipped), plain.x)
    assert np.array_equal(score(path, plain.resolved, plain.encoder, plain.target).x, plain.x)


@pytest.mark.parametrize("above", [1, 60, 300])
def test_as_many_lines_may_stand_above_the_header_as_in_training(folder, above):
    """A table with a long preamble, which training passed over, is predicted and scored as it stands."""
    found = folder.load("# a comment\n" * above + text_of(), skip=above)
    path = folder.path / "t.csv"

    assert np.array_equal(predicted(path, found), found.x)
    assert np.array_equal(score(path, found.resolved, found.encoder, found.target).x, found.x)
    assert np.array_equal(predicted(folder.write(text_of(), "q.csv"), found), found.x)


def test_skipped_lines_count_in_the_lines_of_errors(folder):
    """Lines are those of the file, also below those that were passed over."""
    with pytest.raises(DataError) as error:
        folder.load("# x\n# y\n" + text_of(HEAD, [*ROWS, "oops,u,1"]), skip=2)
    with pytest.raises(DataError, match=r"data.skip=100, and the file has 61 lines"):
        folder.load(text_of(), skip=100)

    assert [problem.line for problem in error.value.problems] == [64]


def test_lines_are_skipped_without_a_header_too(folder):
    """With `header: false` rows follow the lines that are passed over, in prediction as in training."""
    text = "# x, y\n" + "\n".join(ROWS)

    found = folder.load(text, header=False, target=-1, skip=1)
    tally = Tally()
    x = predicted(folder.path / "t.csv", found, tally)

    assert np.array_equal(found.x, folder.load(text_of()).x)
    assert np.array_equal(x, found.x)
    assert "the first line is passed over, as data.skip=1 says" in tally.notices()


@pytest.mark.parametrize("target", ["Y", "missing"])
def test_a_name_that_is_not_there_does_not_make_a_good_header_doubtful(folder, target):
    """A target that no line names is said to be missing, with the columns that there are."""
    with pytest.raises(FcnetError, match=r'the columns are "a", "c", "y"|did you mean "y"'):
        folder.load(text_of(), target=target)


# --- lines that are no rows ------------------------------------------------------------------------------------------


def run_as_shown(folder, said: str) -> str:
    """Run the command that a message ends with, and return the file that it writes."""
    command = said.rpartition(": ")[2]
    subprocess.run(["sh", "-c", command], cwd=folder.path, check=True)
    return (folder.path / shlex.split(command)[-1]).read_text()


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        pytest.param(
            "a,b,c,y\ncm,kg,,\n" + "".join(f"{i % 10},{i % 9},u,{i}.5\n" for i in range(60)),
            2,
            'looks like a line of units ("cm", "kg"), no row',
            id="units",
        ),
        pytest.param(
            "a,b,c,y\n\n(m),[s],text,EUR\n" + "".join(f"{i % 10},{i % 9},u,{i}.5\n" for i in range(8)),
            3,
            'looks like a line of units ("(m)", "[s]", "EUR"), no row',
            id="units-few-rows",
        ),
        pytest.param(
            "a,c,y\n" + "\n".join([*ROWS, "Total,,12"]), 62, 'looks like a line of totals ("Total", …)', id="totals"
        ),
        pytest.param(
            "c,a,y\n" + "".join(f"u,{i % 9},{i}.5\n" for i in range(60)) + "Grand total:,1770,\n",
            62,
            'looks like a line of totals ("Grand total:", …)',
            id="totals-in-a-text-column",
        ),
        pytest.param(
            "a,c,y\n" + "\n".join([*ROWS, ",Sum,12"]), 62, 'looks like a line of totals ("Sum", …)', id="blank-first"
        ),
        pytest.param(
            "a,c,y\n" + "\n".join([*ROWS, "(60 rows)"]),
            62,
            'looks like a line below the table ("(60 rows)")',
            id="psql",
        ),
    ],
)
def test_lines_of_units_and_totals_are_named_with_a_command_that_works(folder, text, line, said):
    """One error in place of one for each cell, and the command shown makes a file that loads."""
    with pytest.raises(DataError) as error:
        folder.load(text)

    (problem,) = error.value.problems
    assert (problem.line, problem.text.partition(";")[0]) == (line, said)
    found = folder.load(run_as_shown(folder, problem.text))
    assert found.encoder.columns[0] == text[0]


def test_totals_that_are_read_as_data_are_said(folder):
    """A last row that calls itself a total is a row only with a notice."""
    found = folder.load("c,a,y\n" + "".join(f"u,{i % 9},{i}.5\n" for i in range(60)) + "Total,1770,5\n")

    assert any(
        notice.startswith('line 62 looks like a line of totals ("Total", …), and is read as')
        for notice in found.notices
    )


def test_a_first_line_of_data_is_seen_though_most_of_it_is_text(folder):
    """Numbers above numbers and texts that come again are a row; the key shown reads it as one."""
    rows = [f"{20 + i % 9}, {'uvw'[i % 3]}, clerk, {'yes' if i % 2 else 'no'}" for i in range(40)]
    letters = [",".join("pxs"[(i * j) % 3] for j in (1, 2, 4, 5)) for i in range(40)]

    for lines in (rows, letters):
        with pytest.raises(DataError, match=r"looks like data \(\"\w+\", …\); set data.header=false"):
            folder.load("\n".join(lines), target="income")
        assert len(folder.load("\n".join(lines), target=-1, header=False).x) == 40


# --- any block size --------------------------------------------------------------------------------------------------

PIECES = st.sampled_from(
    ["a,b,c", "1,2,3", "4,,x", ",,", '"q\nq",5,6', '7,"8""9",z', "é,1,2", "1,2", "1,2,3,", "", "\ufeffa,b,c"]
    + ["\ufeff1,2,3", "\ufeff", '\ufeff"1",2,3', "Total,9,", " ", '"', "1,\0,2", "1,2,3\r4,5,6", "1.5,-2e3,+.5"]
)
ENDS = st.sampled_from(["\n", "\r\n", "\r"])


def everything(content: bytes, size: int, *, exact: bool, header: bool = True) -> object:
    """All that comes of reading: the cells with their lines, the problems, what is said; or the error."""
    before = module.BLOCK, module.convert, module.SAMPLE
    module.BLOCK, module.SAMPLE = size, 5
    if exact:
        module.convert = lambda *_: None
    problems = Problems("t.csv")
    try:
        with Opened(Spool(content), "t.csv") as opened:
            source = Delimited(
                opened, Grammar(), problems, headless=None if header else lambda n: [f"x{j}" for j in range(n)]
            )
            rows = []
            for block in source.blocks():
                columns = [block.cells(j) for j in source.places]
                for j in source.places:
                    values = block.numbers(j)
                    if values is not None:
                        want, bad = Grammar().parse(block.cells(j))
                        assert not bad
                        assert np.array_equal(values, want, equal_nan=True)
                    codes, levels = block.coded(j)
                    assert [levels[code] for code in codes] == list(block.cells(j))
                rows += list(zip(block.lines.tolist(), *columns, strict=True))
            doubts = source.doubts()
            said = (source.names, source.left_out, source.notices(), doubts)
            return rows, said, str(problems.error()) if problems else ""
    except FcnetError as error:
        return str(error)
    finally:
        module.BLOCK, module.convert, module.SAMPLE = before


class Spool:
    """Bytes as a stream without a path."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def read(self, size: int = -1) -> bytes:
        size = len(self.content) if size < 0 else size
        piece, self.content = self.content[:size], self.content[size:]
        return piece


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(PIECES, ENDS), max_size=25), st.integers(1, 80), st.booleans(), st.booleans())
@example([("1,2,3", "\n")] * 4 + [("\ufeff1,2,3", "\n")] * 3, 6, False, True)
@example([("1,2,3", "\n")] * 4 + [("a,b,c", "\n")] * 2, 6, True, True)
@example([('"q\nq",5,6', "\r\n")] * 9, 5, True, True)
def test_files_are_read_alike_in_blocks_of_any_size_and_by_every_way(pieces, size, header, whole):
    """Joined files, quotes and line ends across blocks, trailing delimiters, NUL: all is as the exact reader has it."""
    lines = [*[("a,b,c", "\n")] * header, *[("1,2,3", "\n"), ("2,3,x", "\n")] * 2, *pieces]
    text = "".join(line + end for line, end in lines)
    content = (text if whole else text.rstrip("\r\n")).encode()

    want = everything(content, 1 << 20, exact=True, header=header)

    assert everything(content, size, exact=False, header=header) == want
    assert everything(content, size, exact=True, header=header) == want
    assert everything(content, 1 << 20, exact=False, header=header) == want


def test_a_byte_order_mark_where_files_were_joined_is_no_part_of_a_cell(folder):
    """The first cell of a joined file is a number as the others are."""
    found = folder.load(text_of(HEAD, [*ROWS[:30], *["\ufeff" + row for row in ROWS[30:31]], *ROWS[31:]]))

    assert np.array_equal(found.x, folder.load(text_of()).x)


@pytest.mark.parametrize("value", [",", " ", "'", "\t", ";", ["Not Available", "#DIV/0!", "\\N", "it's", '"'], ["-"]])
def test_keys_as_shown_survive_a_shell_and_the_reader_of_values(value):
    """What a message advises to type means the value that is meant, quotes, backslashes and signs included."""
    from fcnet.config.overrides import override
    from fcnet.config.places import Tree

    key = "data.missing" if isinstance(value, list) else "data.thousands"
    shown = typed(key, value)

    (word,) = shlex.split(shown)
    tree = Tree({"data": {"train": "t.csv"}}, "c.yaml")
    override(tree, word)
    found = tree.root["data"][key.removeprefix("data.")]
    assert not tree.findings
    assert found == ("\\t" if value == "\t" else value)


def test_a_block_of_wrong_lines_alone_is_no_surprise(folder):
    """Where every line ends with a delimiter, blocks without a single row are read as all others are."""
    with pytest.raises(DataError, match="a header and no rows"):
        folder.load("a,y,\na,y,\n\n")
