"""C files: what they call themselves, what they say, how exact they are, and that their own test can fail."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest
from export_cases import train

import fcnet
from fcnet.cli import main
from fcnet.errors import UsageError
from fcnet.export import export
from fcnet.export.c import identifier, literal, number
from fcnet.export.functions import needed
from fcnet.formulas import transform
from fcnet.runs.folder import resolve
from fcnet.runs.model import Predictor

CC = shutil.which("cc") or shutil.which("gcc")
with_cc = pytest.mark.skipif(not CC, reason="compiles C")


def run(text, folder, *more):
    """What a program prints."""
    (folder / "program.c").write_text(text)
    command = [CC, "-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-O2", "program.c", *more, "-o", "program"]
    made = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    return subprocess.run([str(folder / "program")], capture_output=True, text=True, check=False)


def test_names_texts_and_numbers_are_those_of_c():
    """ASCII names that are no keywords and no others' names, octal bytes, float32 that read back equal."""
    assert [identifier(name) for name in ("age", "big year", "2nd", "int", "γ2", "größe")] == [
        "age", "big_year", "x2nd", "int_", "gamma2", "gr__e",
    ]  # fmt: skip
    assert identifier("a", ["a", "a_2"]) == "a_3"
    assert literal('é "?"\n\\') == r'"\303\251 \042\077\042\012\134"'
    assert [number(v) for v in (1, 0.1, 1e-30, np.nan, -np.inf)] == ["1.0f", "0.1f", "1e-30f", "NAN", "-INFINITY"]


POINTS = {
    "exp": [-103.0, -87.5, -20.0, -1e-4, 0.0, 0.3, 1.0, 17.3, 88.0],
    "log": [1e-42, 1e-30, 0.3, 0.99, 1.0, 1.5, 7e4, 3e38],
    "log1p": [0.0, 1e-9, 1e-3, 0.5, 1.0, 100.0],
    "expm1": [-100.0, -5.0, -1e-3, -1e-9, 0.0, 1e-5, 0.7, 20.0],
    "tanh": [-30.0, -2.0, -1e-4, 0.0, 1e-6, 0.4, 9.0],
    "sqrt": [0.0, 1e-40, 1e-12, 0.3, 2.0, 1e9, 3e38],
    "cos": [-7.0, 0.0, 0.5, 1.5707964, 3.0, 40.5, 900.25, -4000.5, 123456.0],
}


@with_cc
def test_functions_are_exact_to_the_last_digits(tmp_path):
    """exp, log and all others of float32 agree with those of float64 to 3e-7, near 0 and at the ends of the range."""
    calls = "".join(
        f'    printf("%.9g\\n", (double){name}_of({number(v)}));\n' for name, points in POINTS.items() for v in points
    )
    parts = "\n".join(["#include <stdio.h>", "#include <stdint.h>", *needed(POINTS)])

    made = np.array(
        run(f"{parts}\nint main(void)\n{{\n{calls}    return 0;\n}}\n", tmp_path).stdout.split(), np.float64
    )
    with np.errstate(under="ignore"):
        expected = np.concatenate(
            [transform.UFUNCS[name](np.float32(points).astype(np.float64)) for name, points in POINTS.items()]
        )
    assert (np.abs(made - expected) <= 3e-7 * np.abs(expected) + np.where(np.abs(expected) < 1e-37, 1e-43, 1e-7)).all()


STRANGE = {
    "exp": {np.nan: np.nan, -np.nan: np.nan, np.inf: np.inf, -np.inf: 0.0, 1e30: np.inf, -1e30: 0.0},
    "expm1": {np.nan: np.nan, -np.nan: np.nan, np.inf: np.inf, -np.inf: -1.0, 1e30: np.inf, 88.5: 2.7231e38},
    "tanh": {np.nan: np.nan, np.inf: 1.0, -np.inf: -1.0, -1e30: -1.0},
}


@with_cc
def test_functions_take_what_is_no_number_and_what_is_infinite(tmp_path):
    """NaN stays NaN, whatever its sign, also as the first of min and max; infinity goes where the limit is."""
    asked = [(f"{name}_of({number(v)})", y) for name, pairs in STRANGE.items() for v, y in pairs.items()]
    asked += [(f"{name}_of({a}, {b})", y) for name, a, b, y in (
        ("min", "NAN", "1.0f", np.nan), ("max", "-NAN", "1.0f", np.nan), ("min", "-INFINITY", "1.0f", -np.inf),
        ("max", "-2.0f", "-1.0f", -1.0), ("min", "-2.0f", "-1.0f", -2.0), ("max", "INFINITY", "0.0f", np.inf),
    )]  # fmt: skip
    parts = ["#include <math.h>", "#include <stdio.h>", "#include <stdint.h>", *needed([*STRANGE, "min", "max"])]
    calls = "".join(f'    printf("%.5g\\n", (double){call});\n' for call, _ in asked)

    made = run("\n".join([*parts, f"int main(void)\n{{\n{calls}    return 0;\n}}\n"]), tmp_path).stdout.split()
    np.testing.assert_allclose(np.array(made, np.float64), [y for _, y in asked], rtol=1e-4)


MAIN = """
#include "net.h"
#include <math.h>
#include <stdio.h>

int main(void)
{
    net_row row = {0};
    net_result out;
    row.age = 40.0f;
    row.big_year = 1999.0f;
    row.job = " naïve ";
    row.city = "never seen";
    row.flag = "TRUE";
    row.size = "10.0";
    printf("%d %d %d\\n", net_predict(0, &out), net_predict(&row, 0), net_predict(&row, &out));
    printf("%d %s %.6f\\n", out.prediction, out.label, (double)out.probabilities[out.prediction]);
    row.age = INFINITY;
    printf("%d\\n", net_predict(&row, &out));
    return 0;
}
"""


@with_cc
def test_a_program_calls_the_net(tmp_path, monkeypatch, capfd):
    """Columns are members of the row, the class comes with its label, and what is wrong has a code."""
    monkeypatch.chdir(tmp_path)
    net = train("classes", tmp_path)
    assert main(["export", str(net), "--format", "c", "-o", "net.c"]) == 0
    said = capfd.readouterr().out
    assert said.startswith("files    net.c, net.h · ")
    assert said.endswith("next: cc -std=c99 -Dnet_SELF_TEST net.c -o net && ./net\n")

    lines = run(MAIN, tmp_path, "net.c").stdout.splitlines()
    header = "age,big year,job,city,flag,size"
    (tmp_path / "one.csv").write_text(f"{header}\n40,1999,naïve,never seen,True,10\n", encoding="utf-8")
    assert main(["predict", "one.csv", "-c", str(net), "-o", "-", "-q"]) == 0
    label, *shares = capfd.readouterr().out.splitlines()[1].split(",")
    best = max(map(float, shares))
    assert lines[0] == "1 1 0"
    assert lines[1].split()[1:] == [*label.lstrip("'").split(), lines[1].split()[-1]]
    assert abs(float(lines[1].split()[-1]) - best) < 1e-5
    assert lines[2] == "2"


@pytest.fixture(scope="module")
def odd_names(tmp_path_factory):
    """A folder with net.c, whose columns are called like what C, its compilers and the file itself have."""
    folder = tmp_path_factory.mktemp("names")
    words = ["j", "k", "n", "at", "v", "printf", "exp_of", "uint32_t", "made", "bool", "nullptr", "linux", "predict"]
    numbers = ["i", "NAN", "I", "_Bool", "__LINE__", "a/*b*/", "quantile_of", "INPUTS_H", "inputs_SELF_TEST", "classes"]
    draw = np.random.default_rng(0)
    texts = np.where(draw.integers(2, size=(60, len(words))), "u", "w")
    cells = np.concatenate([texts, draw.normal(size=(60, len(numbers))).round(3).astype(str)], axis=1)
    rows = [[*words, *numbers, "y"], *([*row, "ab"[i % 2]] for i, row in enumerate(cells.tolist()))]
    (folder / "t.csv").write_text("".join(",".join(row) + "\n" for row in rows))
    net = {"data": {"train": str(folder / "t.csv"), "target": "y"}, "network": {"layers": [4]}, "threads": 1}
    net |= {"preprocess": {"numeric": "quantile", "categorical": "signs"}, "training": {"epochs": 1}}
    done = fcnet.train({**net, "name": "t", "backend": "numpy", "output": str(folder / "runs")})
    for name in FILES:
        export(Predictor.read(resolve(done.path)), "c", folder / f"{name}.c")
    return folder


FILES = ["net", "inputs", "levels", "größe " + "o" * 100]


@with_cc
@pytest.mark.parametrize(("standard", "name"), [("gnu17", "net"), ("c2x", "net"), *(("c99", name) for name in FILES)])
def test_columns_and_files_are_called_whatever_they_are(standard, name, odd_names):
    """By the words of any C: what is made of them compiles, and predicts what it should."""
    flags = [f"-std={standard}", "-Wall", "-Wextra", "-Werror", f"-D{identifier(name)}_SELF_TEST", f"{name}.c"]

    made = subprocess.run([str(CC), *flags, "-o", "net"], cwd=odd_names, capture_output=True, text=True, check=False)

    assert made.returncode == 0, made.stderr
    assert subprocess.check_output([str(odd_names / "net")], text=True) == "24 rows as predicted\n"


def test_a_file_that_no_source_can_include_is_refused(odd_names):
    """A quote in its name would end the name in the source; nothing is written."""
    model = Predictor.read(resolve(odd_names / "runs" / "t"))

    with pytest.raises(UsageError, match=r'-o "a"b\.c": a C program cannot include a file of this name'):
        export(model, "c", odd_names / 'a"b.c')
    assert not (odd_names / 'a"b.c').exists()


@with_cc
def test_quantiles_that_are_all_but_one_lose_no_digits(tmp_path):
    """Noise keeps quantiles of 1, 2 and 3 apart by less than floats can tell; waves show every digit that is lost."""
    (tmp_path / "t.csv").write_text("n,y\n" + "".join(f"{1 + i % 3},{'ab'[i % 2]}\n" for i in range(600)))
    net = {"data": {"train": str(tmp_path / "t.csv"), "target": "y"}, "threads": 1, "backend": "numpy"}
    net |= {"network": {"layers": [{"name": "periodic", "scale": 10.0}, 6]}, "training": {"epochs": 1}}
    net |= {"preprocess": {"numeric": {"name": "quantile", "noise": 1e-3}}, "output": str(tmp_path / "runs")}

    export(Predictor.read(resolve(fcnet.train(net).path)), "c", tmp_path / "net.c")

    assert run((tmp_path / "net.c").read_text(), tmp_path, "-Dnet_SELF_TEST").stdout == "24 rows as predicted\n"


@with_cc
def test_the_self_test_can_fail(tmp_path):
    """A weight that is another makes it say which row is wrong, and end with 1."""
    export(Predictor.read(resolve(train("numbers", tmp_path))), "c", tmp_path / "net.c")
    text = (tmp_path / "net.c").read_text()
    start = text.index("static const float b2[")
    broken = text[:start] + text[start:].replace("{\n    ", "{\n    0.5f + ", 1)

    assert run(text, tmp_path, "-Dnet_SELF_TEST").returncode == 0
    done = run(broken, tmp_path, "-Dnet_SELF_TEST")
    assert done.returncode == 1
    assert done.stdout.startswith("row 0: number 0 is ")
