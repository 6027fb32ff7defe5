"""A net as one script: it predicts what fcnet predicts, from the same files, without fcnet."""

from __future__ import annotations

import ast
import csv
import gzip
import os
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from export_cases import loaded, odd_rows, train, write

import fcnet
from fcnet.cli import main
from fcnet.export import FORMATS, export
from fcnet.export.graph import record
from fcnet.export.python import printed
from fcnet.runs.folder import resolve
from fcnet.runs.model import Predictor


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the nets of this file are trained."""
    return tmp_path_factory.mktemp("python")


def run(*arguments, cwd, stdin=None):
    """A script, in a process that finds no fcnet."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-I", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment, input=stdin, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("case", ["classes", "labels", "gaussian"])
def test_a_script_writes_the_file_that_predict_writes(case, folder, monkeypatch, capfd):
    """The same header, labels and order of rows from a CSV, with numbers to 1e-5; from stdin too, into a file too."""
    monkeypatch.chdir(folder)
    model = train(case, folder)
    export(Predictor.read(resolve(model)), "python", folder / "net.py")
    write(folder / "new.csv", {"extra": list(range(40)), **odd_rows()})
    assert main(["predict", "new.csv", "-c", str(model), "-o", "-", "-q"]) == 0
    expected = capfd.readouterr().out

    done = run("net.py", "new.csv", cwd=folder)
    assert done.returncode == 0, done.stderr
    head, *lines = done.stdout.splitlines()
    there, *wanted = expected.splitlines()
    assert head == there
    assert len(lines) == len(wanted) == 40
    for line, other in zip(lines, wanted, strict=True):
        for cell, number in zip(line.split(","), other.split(","), strict=True):
            try:
                assert abs(float(cell) - float(number)) <= 1e-5 * max(1.0, abs(float(number)))
            except ValueError:
                assert cell == number
    assert 'column "job": 2 cells hold categories that training has not seen' in done.stderr
    text = (folder / "new.csv").read_text(encoding="utf-8")
    assert run("net.py", "-", cwd=folder, stdin=text).stdout == done.stdout
    assert run("net.py", "new.csv", "-o", "out.csv", "-q", cwd=folder).stderr == ""
    assert (folder / "out.csv").read_text(encoding="utf-8") == done.stdout


@pytest.mark.parametrize(
    "case", ["binary", "quantile", "calibrated classes", "three nets", "two nets of numbers", "realmlp", "members"]
)
def test_on_numpy_the_bytes_are_those_of_predict(case, folder, monkeypatch, capfd):
    """One net or several, in single precision, whose means are taken in double."""
    monkeypatch.chdir(folder)
    model = train(case, folder)
    export(Predictor.read(resolve(model)), "python", folder / "exact.py")
    write(folder / "exact.csv", odd_rows())
    assert main(["predict", "exact.csv", "-c", str(model), "-o", "-", "-q"]) == 0

    assert run("exact.py", "exact.csv", cwd=folder).stdout == capfd.readouterr().out


def test_the_last_digit_is_that_of_predict_for_any_number_of_rows(tmp_path, monkeypatch, capfd):
    """Products of other shapes round in another way: one row, some, more than a batch."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    rows = [[*x, round(x[0] - x[1], 3)] for x in rng.normal(size=(300, 7)).round(3).tolist()]
    head = [*"abcdefg", "y"]
    for n in (1, 16, 17, 30, 257, 300):
        with Path(f"{n}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([head, *rows[:n]])
    config = {"data": {"train": "300.csv", "target": "y"}, "network": {"layers": [33]}, "training": {"epochs": 1}}
    run = fcnet.train({**config, "backend": "numpy", "threads": 1}).path
    export(Predictor.read(resolve(run)), "python", Path("net.py"))
    script = loaded(Path("net.py"))

    for n in (1, 16, 17, 30, 257, 300):
        assert main(["predict", f"{n}.csv", "-c", str(run), "-o", "-", "-q"]) == 0
        expected = capfd.readouterr().out
        assert script.main(script.NET, [f"{n}.csv"]) == 0
        assert capfd.readouterr().out == expected


def odd_tables(folder):
    """The text of a good table, and of others that hold the same rows as other programs write them."""
    write(folder / "plain.csv", {name: cells[:6] for name, cells in odd_rows().items()})
    good = (folder / "plain.csv").read_text(encoding="utf-8")
    head, *rows = good.splitlines()
    semicolons = [head.replace(",", ";"), *(row.replace(";", "").replace(",", ";") for row in rows if '"' not in row)]
    named = [head, *(f"r{i},{row}" for i, row in enumerate(rows))]
    return good, {
        "a title above": f"People, all of them\n\n{good}",
        "blank lines": good.replace("\n", "\r\n\r\n"),
        "the header again": f"{good}{head}\n{rows[0]}\n",
        "lines that end with a comma": good.replace("\n", ",\n"),
        "rows that end with a comma": "\n".join([head, *(f"{row}," for row in rows)]),
        "row names": "\n".join(named),
        "a column without a name": "\n".join([f",{head}", *named[1:]]),
        "a line that names the delimiter": "\n".join(["sep=;", *semicolons]),
        "a name of two lines": f'"a\nb",{head}\n' + "\n".join(f"q,{row}" for row in rows),
    }


def test_a_script_reads_tables_as_other_programs_write_them(folder, monkeypatch, capfd):
    """With what predict passes over, and the same bytes come out."""
    monkeypatch.chdir(folder)
    model = train("binary", folder)
    export(Predictor.read(resolve(model)), "python", folder / "net.py")
    script = loaded(folder / "net.py")

    for name, text in odd_tables(folder)[1].items():
        (folder / "odd.csv").write_bytes(text.encode())
        assert main(["predict", "odd.csv", "-c", str(model), "-o", "-", "-q"]) == 0, name
        expected = capfd.readouterr().out
        assert script.main(script.NET, ["odd.csv", "-q"]) == 0, name
        assert capfd.readouterr().out == expected, name


def test_a_script_takes_the_delimiter_of_training_first(folder, monkeypatch, capfd):
    """A character that is not tried otherwise, and runs of blanks."""
    monkeypatch.chdir(folder)
    for mark, name in ((":", "colons"), (" ", "blanks")):
        rows = [f"{i}{mark * (mark == ' ')}{mark}{i * 7 % 11}{mark}{'ab'[i % 2]}" for i in range(40)]
        Path(f"{name}.csv").write_text("\n".join([f"u{mark}v{mark}y", *rows]))
        data = {"train": f"{name}.csv", "target": "y", "delimiter": mark, "features": ["u", "v"]}
        net = {"name": name, "data": data, "network": {"layers": [3]}, "training": {"epochs": 1}, "backend": "numpy"}
        model = fcnet.train({**net, "threads": 1}, overwrite=True).path
        export(Predictor.read(resolve(model)), "python", folder / "net.py")
        assert main(["predict", f"{name}.csv", "-c", str(model), "-o", "-", "-q"]) == 0
        expected = capfd.readouterr().out
        script = loaded(folder / "net.py")

        assert script.main(script.NET, [f"{name}.csv", "-q"]) == 0
        assert capfd.readouterr().out == expected


def test_a_script_says_which_file_is_broken_and_writes_over_no_input(folder, monkeypatch, capfd):
    """A gzip file that is cut off or none at all, a name that two columns have, and an output that is the input."""
    monkeypatch.chdir(folder)
    export(Predictor.read(resolve(train("binary", folder))), "python", folder / "net.py")
    script, good = loaded(folder / "net.py"), odd_tables(folder)[0].encode()
    packed = gzip.compress(good)
    broken = bytes([*packed[:12], packed[12] ^ 255, *packed[13:]])
    files = {"cut.csv.gz": packed[:-9], "not.csv.gz": good, "broken.csv.gz": broken, "twice.csv": b"q,q," + good}

    for name, held in files.items():
        Path(name).write_bytes(held)
        assert script.main(script.NET, [name]) == 4
        said = capfd.readouterr()
        assert said.out == ""
        assert said.err.startswith(f"{name}: ")
    with pytest.raises(SystemExit) as ended:
        script.main(script.NET, ["plain.csv", "-o", "./plain.csv"])
    assert ended.value.code == 2
    assert Path("plain.csv").read_bytes() == good


def test_a_script_leaves_no_half_of_a_file(folder, monkeypatch, capfd):
    """Where a row far down is wrong, what stood under the name of -o stays; a pipe is written to as it is."""
    monkeypatch.chdir(folder)
    export(Predictor.read(resolve(train("binary", folder))), "python", folder / "net.py")
    script = loaded(folder / "net.py")
    head, row, *_ = odd_tables(folder)[0].splitlines()
    Path("late.csv").write_text("\n".join([head, *[row] * 5000, "x" + row[row.index(",") :], ""]))
    Path("kept.csv").write_text("kept")

    Path("kept.csv.part").write_bytes(Path("late.csv").read_bytes())

    failed = [script.main(script.NET, ["late.csv", "-o", "none.csv"])]
    failed.append(script.main(script.NET, ["kept.csv.part", "-o", "kept.csv"]))
    os.mkfifo("pipe")
    with ThreadPoolExecutor(1) as pool:
        for name in ("late.csv", "plain.csv"):
            read = pool.submit(Path("pipe").read_text)
            failed.append(script.main(script.NET, [name, "-o", "pipe"]))

    assert failed == [4, 4, 4, 0]
    assert capfd.readouterr().err.startswith("late.csv:5002: column")
    assert Path("kept.csv").read_text() == "kept"
    assert Path("kept.csv.part").read_bytes() == Path("late.csv").read_bytes()
    assert [*Path().glob("none.csv*"), *Path().glob("*.part")] == [Path("kept.csv.part")]
    assert read.result().startswith("prediction,")
    assert Path("pipe").is_fifo()


def test_a_script_is_one_whatever_things_are_called(tmp_path, monkeypatch, capfd):
    """Quotes, backslashes and line ends stand in it as they are, and so does a name that is no text of Unicode."""
    monkeypatch.chdir(tmp_path)
    odd = ['C:\\Users"""', "a\nb", "'''\\N", '"']
    draw = np.random.default_rng(0).normal(size=60).round(3)
    with Path("t.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([odd, *([a > 0, a, "uvw"[i % 3], "xy"[i % 2]] for i, a in enumerate(draw))])
    config = {"data": {"train": "t.csv", "target": odd[0]}, "network": {"layers": [4]}, "training": {"epochs": 1}}
    run = fcnet.train({**config, "preprocess": {"categorical": "signs"}, "backend": "numpy"}).path

    Path("net.py").write_text(printed(record(Predictor.read(resolve(run))), "net\udcff"), encoding="utf-8")
    script = loaded(Path("net.py"))

    assert script.__doc__.startswith(f"net\udcff: predicts {odd[0]} from 3 columns")
    assert main(["predict", "t.csv", "-c", str(run), "-o", "-"]) == 0
    expected = capfd.readouterr().out
    assert script.main(script.NET, ["t.csv"]) == 0
    assert capfd.readouterr().out == expected


def test_a_script_whose_reader_goes_away_ends_without_a_word(folder):
    """As with `| head`: exit code 141, like fcnet's own."""
    export(Predictor.read(resolve(train("binary", folder))), "python", folder / "net.py")
    odd_tables(folder)
    reads, writes = os.pipe()
    os.close(reads)

    command = [sys.executable, "-I", "net.py", "plain.csv"]
    done = subprocess.run(command, cwd=folder, stdout=writes, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writes)

    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("age,job\n1,a\n", 'bad.csv: it lacks the columns "big year", "city", "flag", "size"'),
        (
            "age,big year,job,city,flag,size\n1,2,a,b,c,d\nx1,2,a,b,c,d\n",
            'bad.csv:3: column "age": "x1" is not a number',
        ),
        ("age,big year,job,city,flag,size\n1,2,a\n", "bad.csv:2: 3 fields, and the header has 6"),
    ],
)
def test_a_script_says_what_is_wrong_with_a_table(table, said, folder):
    """By file, line and column, with the exit code for data, and without a line of output."""
    if not (folder / "net.py").exists():
        export(Predictor.read(resolve(train("classes", folder))), "python", folder / "net.py")
    (folder / "bad.csv").write_text(table)

    done = run("net.py", "bad.csv", cwd=folder)

    assert (done.returncode, done.stdout) == (4, "")
    assert said in done.stderr


def test_a_script_takes_other_marks_and_an_empty_table(folder):
    """A file with semicolons, a byte order mark, columns in another order and no row."""
    export(Predictor.read(resolve(train("classes", folder))), "python", folder / "net.py")
    rows = odd_rows()
    names = [*rows][::-1]
    text = "\ufeff" + ";".join(names) + "\r\n"
    (folder / "empty.csv").write_text(text, encoding="utf-8")

    done = run("net.py", "empty.csv", cwd=folder)

    assert (done.returncode, done.stdout) == (0, "prediction,p(=c),p(a b),p(ç)\n".replace("=", "=")), done.stderr


@pytest.mark.parametrize("format_", ["onnx", "c", "python"])
def test_what_to_do_next_can_be_typed_for_any_name(format_):
    """A name with blanks and quotes is one word of the shell, and of Python."""
    path = Path("my 'own' net").with_suffix({"onnx": ".onnx", "c": ".c", "python": ".py"}[format_])

    words = shlex.split(FORMATS[format_].following(path))

    assert any(str(path) in word for word in words)
    if format_ == "onnx":
        assert ast.literal_eval(words[2].partition("InferenceSession")[2]) == str(path)


def test_a_file_has_the_very_name_that_was_asked_for(folder):
    """Whatever the case of its letters, and what to do next names it."""
    done = export(Predictor.read(resolve(train("classes", folder))), "python", folder / "Loud.PY")

    assert done.files == (folder / "Loud.PY",)
    assert "Loud.PY" in {each.name for each in folder.iterdir()}
    assert str(folder / "Loud.PY") in done.following


def test_what_is_off_is_refused(folder, monkeypatch):
    """No file appears where the export does not predict what the net does."""
    model = Predictor.read(resolve(train("classes", folder)))
    right = FORMATS["python"].predicts

    def wrong(*about):
        made = dict(right(*about))
        return {**made, "p(ç)": np.asarray(made["p(ç)"]) + 1e-4}

    monkeypatch.setattr(type(FORMATS["python"]), "predicts", lambda self, *about: wrong(*about))
    with pytest.raises(fcnet.errors.UsageError, match=r'column "p\(ç\)" is 1.0e-04 off'):
        export(model, "python", folder / "off.py")
    assert not (folder / "off.py").exists()
