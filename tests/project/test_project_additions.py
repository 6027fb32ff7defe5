"""What CONTRIBUTING.md promises of additions: so few files are touched, and a training takes what was added."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")

Edits = dict[str, Callable[[str], str]]
"""What becomes of the text of each file; of one that is new, of "" ."""


def shown(name: str) -> str:
    """The block of the document that defines a name."""
    (source,) = [block for block in re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL) if name in block]
    return source


def entered(registry: str, entry: str, before: str = "") -> Callable[[str], str]:
    """The text with some lines before a registry and an entry at its beginning."""

    def change(text: str) -> str:
        head, start, tail = text.rpartition(f"\n{registry}")
        assert start, registry
        opening, brace, rest = tail.partition("{")
        return f"{head}\n{before}\n{start}{opening}{brace}{entry}, {rest}"

    return change


def replaced(*pairs: tuple[str, str]) -> Callable[[str], str]:
    """The text with each of the first parts, which are there once, replaced."""

    def change(text: str) -> str:
        for old, new in pairs:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        return text

    return change


LOSS = '''
@dataclass(frozen=True)
class LogCosh(Loss):
    """ℓ = mean over outputs of ln cosh(a − y)."""

    name: Literal["log_cosh"] = "log_cosh"

    def terms(self, a: Exprs, y: Expr) -> tuple[Expr, Exprs]:
        """∂ℓ/∂a = tanh(a − y) / n."""
        d = a[0] - y
        e = exp(-2.0 * absolute(d))
        sign = where(d > 0.0, 1.0, -1.0)
        return row_mean(absolute(d) + log1p(e) - 0.6931471805599453), (_per_output(sign * (1.0 - e) / (1.0 + e), y),)

'''
RULE = '''
from fcnet.formulas import where


@dataclass(frozen=True)
class SignSgd(Grouped):
    """θ' = θ − lr sign(g)."""

    name: Literal["sign_sgd"] = "sign_sgd"
    lr: Rate = 0.01
    """Learning rate."""
    weight_decay: Decay = 0.0
    """None is added."""

    def vectors(self) -> tuple[str, ...]:
        """None."""
        return ()

    def update(self, g, θ, state, lr, decay, t):
        """As the class says."""
        return {"θ": θ - lr * (where(g > 0.0, 1.0, 0.0) - where(g < 0.0, 1.0, 0.0))}

'''
READER = """
def _read_lines(request: Request) -> Reading:
    import json

    from fcnet.data.arrays import table_of_columns

    with Opened(_path(request), request.shown) as opened:
        rows = [json.loads(line) for line in opened.read().splitlines()]
        parts = {name: np.array([row[name] for row in rows]) for name in rows[0]}
        table = table_of_columns(parts, request.grammar, request.plan, request.shown)
        return Reading(table, opened.finish())


def _stream_lines(request: Request) -> Iterator[Table]:
    yield _read_lines(request).table

"""
SINE = '''
@dataclass(frozen=True)
class Sine:
    """f(a) = sin a."""

    name: Literal["sine"] = "sine"
    family: ClassVar[Literal["relu", "tanh", "selu"]] = "tanh"

    def f(self, a: Expr) -> Expr:
        """z = sin a."""
        return sin(a)

    def vjp(self, a: Expr, z: Expr, δ: Expr) -> Expr:
        """ε = δ cos a."""
        return δ * cos(a)

'''
OPERATION = '''@dataclass(frozen=True)
class Negate(Op):
    """out = −x."""

    x: Ref
    out: Ref = _made()


@dataclass(frozen=True)
class Fill(Op):'''
CALLS = """            case Negate(x, out):
                return [(np.negative, (at(x), at(out)))]
            case Fill(value, out):
"""
BACKEND = '''
"""NumPy's under another name."""

from __future__ import annotations

from fcnet.backends.numpy import NumpyBackend
from fcnet.backends.offer import Offer


class Second(NumpyBackend):
    """The same under another name."""

    name = "second"


OFFER = Offer(lambda threads, largest, products: Second(1))
'''
IMPORT = "\nfrom fcnet.formulas import cos, sin\n"
PRINTED = """        if op == "cos":
            return f"{TYPES[self.kind]}(math.cos({args[0]}))"
"""
SHORT = ["training.epochs=2", "backend=numpy", "threads=1"]
LANGUAGE: Edits = {
    "formulas/expression.py": replaced(
        ('"row_sum", "sqrt", ', '"row_sum", "sin", "sqrt", '),
        ("def cos(", 'def sin(x: Expr) -> Expr:\n    """sin x."""\n    return _node("sin", (x,))\n\n\ndef cos('),
    ),
    "formulas/transform.py": replaced(('    "cos": np.cos,\n', '    "cos": np.cos,\n    "sin": np.sin,\n')),
    "backends/numba/printer.py": replaced((PRINTED, PRINTED.replace("cos", "sin") + PRINTED)),
}

STEP: Edits = {
    "backends/ops.py": replaced(("@dataclass(frozen=True)\nclass Fill(Op):", OPERATION)),
    "backends/numpy.py": replaced(
        ("            case Fill(value, out):\n", CALLS), ("    Norm,\n    Op,\n", "    Negate,\n    Norm,\n    Op,\n")
    ),
}
MIRROR = replaced(
    ("class Scale", "class Mirror"),
    ('"scale"] = "scale"', '"mirror"] = "mirror"'),
    ("import Apply, Ref, Tape", "import Apply, Negate, Ref, Tape"),
    (
        'k.add(Apply(Formula({"z_out": Sym("s") * Sym("z")}), {"s": row(p["s"]), "z": z}, {"z_out": z_out}))',
        "k.add(Negate(z, z_out))",
    ),
    ('k.add(Apply(Formula({"δ": Sym("s") * Sym("δ")}), {"s": row(p["s"]), "δ": δ}, {"δ": δ}))', "k.add(Negate(δ, δ))"),
)

ADDITIONS: dict[str, tuple[int, Edits, list[str], str]] = {
    "an activation": (
        1,
        {"nn/activations.py": entered("ACTIVATIONS:", '"softsign": Softsign', shown("class Softsign"))},
        ["t.csv", "--target=kind", "network.activation=softsign"],
        "softsign",
    ),
    "a loss": (
        1,
        {"nn/losses.py": entered("LOSSES:", '"log_cosh": LogCosh', LOSS)},
        ["t.csv", "--target=y", "loss=log_cosh"],
        "log_cosh",
    ),
    "an optimizer": (
        1,
        {"optim/rules.py": entered("OPTIMIZERS |=", '"sign_sgd": SignSgd', RULE)},
        ["t.csv", "--target=y", "optimizer=sign_sgd"],
        "sign_sgd",
    ),
    "a layer": (
        1,
        {
            "nn/layers/weigh.py": lambda _: (
                (ROOT / "fcnet/nn/layers/scale.py")
                .read_text(encoding="utf-8")
                .replace("class Scale", "class Weigh")
                .replace('"scale"', '"weigh"')
            )
        },
        ["t.csv", "--target=y", "network.layers=[{name: weigh}, 4]"],
        "weigh",
    ),
    "an encoding": (
        1,
        {
            "data/encodings/plus.py": lambda _: (
                (ROOT / "fcnet/data/encodings/robust.py")
                .read_text(encoding="utf-8")
                .replace("class Robust", "class Plus")
                .replace('"robust"', '"plus"')
            )
        },
        ["t.csv", "--target=y", "preprocess.numeric=plus"],
        "plus",
    ),
    "a metric": (
        1,
        {
            "metrics.py": entered(
                "METRICS:", re.findall(r"`(\"max_error\": Metric\(.*?\))`", TEXT)[0], shown("def max_error")
            )
        },
        ["t.csv", "--target=y", "metrics=[max_error]"],
        "max_error",
    ),
    "a reader": (
        1,
        {"data/readers.py": entered("READERS:", '".jsonl": Reader(_read_lines, _stream_lines)', READER)},
        ["t.jsonl", "--target=y"],
        "t.jsonl",
    ),
    "a backend": (
        1,
        {"backends/second/__init__.py": lambda _: BACKEND},
        ["t.csv", "--target=y", "backend=second"],
        "backend: second",
    ),
    "an operation of a step": (
        2,
        {
            **STEP,
            "nn/layers/mirror.py": lambda _: MIRROR((ROOT / "fcnet/nn/layers/scale.py").read_text(encoding="utf-8")),
        },
        ["t.csv", "--target=y", "network.layers=[{name: mirror}, 4]"],
        "mirror",
    ),
    "an operation of the language": (
        3,
        {**LANGUAGE, "nn/activations.py": entered("ACTIVATIONS:", '"sine": Sine', IMPORT + SINE)},
        ["t.csv", "--target=y", "network.activation=sine"],
        "sine",
    ),
}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package with its bytecode beside it, so that what is not changed is not compiled for each addition."""
    folder = tmp_path_factory.mktemp("package")
    shutil.copytree(ROOT / "fcnet", folder / "fcnet", ignore=shutil.ignore_patterns("__pycache__"))
    assert python(folder, "-m", "compileall", "-q", "fcnet").returncode == 0
    return folder / "fcnet"


@pytest.fixture
def place(package: Path, tmp_path: Path) -> Path:
    """A folder with the package's source, to be changed, and a table in two kinds of files."""
    shutil.copytree(package, tmp_path / "fcnet")
    rows = [{"a": i % 7 / 3, "b": i % 11 / 5, "y": (i % 7) * (i % 11) / 9, "kind": "uv"[i % 2]} for i in range(60)]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    lines = [",".join(map(str, row.values())) for row in rows]
    (tmp_path / "t.csv").write_text("\n".join(["a,b,y,kind", *lines]) + "\n", encoding="utf-8")
    return tmp_path


def python(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Python with the changed package."""
    elsewhere = ("PYTHONPYCACHEPREFIX", "PYTHONDONTWRITEBYTECODE")
    env = {name: value for name, value in os.environ.items() if name not in elsewhere} | {"PYTHONPATH": str(place)}
    return subprocess.run([sys.executable, *words], cwd=place, env=env, capture_output=True, text=True, check=False)


def change(place: Path, edits: Edits) -> None:
    for name, edit in edits.items():
        path = place / "fcnet" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(edit(path.read_text(encoding="utf-8") if path.exists() else ""), encoding="utf-8")


@pytest.mark.parametrize("what", ADDITIONS)
def test_an_addition_touches_few_files_and_trains(what: str, place: Path) -> None:
    """With the edits and nothing else a training takes what was added by its name, and records it."""
    most, edits, arguments, name = ADDITIONS[what]
    change(place, edits)

    short = [each for each in SHORT if not each.startswith("backend") or what != "a backend"]
    done = python(place, "-m", "fcnet", "train", *arguments, *short)

    assert done.returncode == 0, done.stderr
    (config,) = (place / "runs").glob("*/config.yaml")
    assert name in config.read_text(encoding="utf-8")
    assert len(edits) <= most + what.startswith("an operation")  # which an activation, or a layer, uses


@pytest.mark.skipif(not find_spec("numba"), reason="prints code for Numba")
def test_an_operation_of_the_language_is_printed_for_the_compiler_too(place: Path) -> None:
    """The same three files are all that compiled kernels need."""
    change(place, LANGUAGE)
    script = """
from fcnet.backends.numba.printer import print_kernel
from fcnet.backends.ops import ref
from fcnet.formulas import Formula, Sym, sin
x = ref("x", (2, 3), "f4")
print(print_kernel(Formula({"out": sin(Sym("x"))}), {"x": x}, {"out": x}, {}))
"""

    done = python(place, "-c", script)

    assert done.returncode == 0, done.stderr
    assert "math.sin(" in done.stdout
