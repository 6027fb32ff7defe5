"""What only the compiled backend has: its functions, its store of printed kernels, and steps without Python."""

from __future__ import annotations

import stat
import subprocess
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba")

from numba import njit
from tapes import ArrayTape

from fcnet import random
from fcnet.backends.numba import functions, native, store
from fcnet.backends.numba.backend import NumbaBackend, Together
from fcnet.backends.numba.native import Cut, FormulaCall
from fcnet.backends.numba.pointers import address
from fcnet.backends.numba.printer import FEW, WIDE, print_kernel
from fcnet.backends.numba.sharing import Least
from fcnet.backends.ops import Apply, Array, Buffer, Host, Ref, Words, ref
from fcnet.formulas import Formula, Sym, exp, maximum, row_max, row_sum

with np.errstate(all="ignore"):
    POINTS = np.concatenate(
        [np.linspace(-90, 90, 20_001), 10.0 ** np.linspace(-37, 2, 20_001), -(10.0 ** np.linspace(-37, 2, 20_001))]
    ).astype(np.float32)
SPECIAL = np.array([0, -0.0, np.inf, -np.inf, np.nan, 200, -200, -1, -2, 1], np.float32)
FUNCTIONS: dict[str, tuple[Any, Callable[[Array], Array]]] = {
    "cos": (functions.cos4, np.cos),
    "exp": (functions.exp4, np.exp),
    "expm1": (functions.expm1_4, np.expm1),
    "log": (functions.log4, np.log),
    "log1p": (functions.log1p4, np.log1p),
    "tanh": (functions.tanh4, np.tanh),
}


def over(function: Any, x: Array) -> Array:
    """The compiled function of every element."""

    @njit
    def loop(x: Any, out: Any) -> None:
        for i in range(x.size):
            out[i] = function(x[i])

    out = np.empty_like(x)
    loop(x, out)
    return out


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_good_to_three_units_in_the_last_place(name: str) -> None:
    """Against float64 at 60,000 points, wherever the result is a normal float32."""
    compiled, exact = FUNCTIONS[name]
    with np.errstate(all="ignore"):
        wanted = exact(POINTS.astype(np.float64))
        rounded = wanted.astype(np.float32)
    normal = np.isfinite(rounded) & (abs(rounded) > np.finfo(np.float32).tiny)

    error = abs(over(compiled, POINTS)[normal].astype(np.float64) - wanted[normal])

    assert (error <= 3 * np.spacing(abs(rounded[normal])).astype(np.float64)).all()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_keep_what_is_not_finite(name: str) -> None:
    """NaN stays NaN, and infinities come out where NumPy has them: divergence is not hidden."""
    compiled, exact = FUNCTIONS[name]
    with np.errstate(all="ignore"):
        wanted = exact(SPECIAL)

    found = over(compiled, SPECIAL)

    assert np.array_equal(np.isnan(found), np.isnan(wanted))
    assert np.array_equal(np.isinf(found), np.isinf(wanted))
    assert found == pytest.approx(wanted, rel=1e-6, nan_ok=True)


def test_words_are_those_of_numpy() -> None:
    """The compiled generator gives NumPy's Philox words, bit for bit, for any number of them."""
    key = random.key(7, "dropout")

    for n in (1, 2, 15, 16, 17, 1001):
        out = np.zeros(n, np.uint16)
        tape = ArrayTape(NumbaBackend())
        tape.add(Words(((int(key[0]), int(key[1])),), 2, tape.ref(np.array([3, 41, 0, 0])), tape.ref(out)))
        tape.run()

        assert np.array_equal(out, random.words(-(-n // 4), key, 2, 41, 3).view(np.uint16)[:n])


def test_a_step_of_kernels_is_one_call() -> None:
    """Between kernels there is no Python: a tape of them runs as one compiled loop, as often as it is told."""
    tape = ArrayTape(NumbaBackend())
    x, z = np.ones((4, 3), np.float32), np.zeros((4, 3), np.float32)
    tape.add(Apply(Formula({"z": Sym("x") + Sym("z")}), tape.refs({"x": x, "z": z}), {"z": tape.ref(z)}))

    tape.run(5)

    assert (z == 5).all()
    assert isinstance(tape.step.linked, Together)


def test_estimated_quotients() -> None:
    """Within 1 unit in the last place of the quotient, and the same in a loop of vectors and alone."""

    @njit(error_model="numpy")
    def divide(x: Any, y: Any, out: Any) -> None:
        for i in range(len(x)):
            out[i] = functions.over4(x[i], y[i])

    y = POINTS[(np.abs(POINTS) > 1e-30)]
    x = np.linspace(-3, 3, len(y)).astype(np.float32)
    out = np.empty_like(x)

    divide(x, y, out)

    exact = x.astype(np.float64) / y
    assert (np.abs(out - exact) <= np.spacing(np.abs(exact).astype(np.float32))).all()
    for i in range(0, len(x), 97):
        divide(x[i : i + 1], y[i : i + 1], alone := np.empty(1, np.float32))
        assert alone.tobytes() == out[i].tobytes()


def test_what_a_call_points_to_lives_until_it_has_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table holds addresses alone: a call on its own keeps the arguments that lie there."""
    held: list[weakref.ref[Any]] = []
    make, run = native.Kernel.blocks, native.replay

    def blocks(kernel: native.Kernel) -> Array:
        made = make(kernel)
        held.append(weakref.ref(made))
        return made

    def replay(rows: Array, times: int) -> None:
        assert held
        assert all(block() is not None for block in held)
        run(rows, times)

    monkeypatch.setattr(native.Kernel, "blocks", blocks)
    monkeypatch.setattr(native, "replay", replay)
    z = np.ones((3, 4))
    tape = ArrayTape(NumbaBackend())
    tape.add(Apply(Formula({"z": 2.0 * Sym("z")}), {"z": tape.ref(z)}, {"z": tape.ref(z)}))
    [(call, args)] = tape.calls()

    call(*args)

    assert (z == 2).all()


def test_python_between_kernels_keeps_its_place() -> None:
    """A plain call on the tape is made between the kernels around it."""
    tape = ArrayTape(NumbaBackend())
    x = np.ones((2, 2))
    at = {"x": tape.ref(x)}
    seen: list[float] = []
    double = Apply(Formula({"x": 2.0 * Sym("x")}), at, at)
    tape.add(double)
    tape.add(Host(lambda arrays: seen.append(float(arrays["x"][0, 0])), at))
    tape.add(double)

    tape.run(2)

    assert seen == [2.0, 8.0]
    assert (x == 16).all()


def test_printing_is_a_function_of_the_formula() -> None:
    """Equal formulas on arrays of the same form print the same text, whatever their sizes: it is compiled once.

    A few units are an exception where they are reduced: each number of them has a text. Too few for the widest vectors
    are another.
    """
    a = Sym("a")

    def texts(formula: Formula, *shapes: tuple[int, int]) -> int:
        printed = [
            print_kernel(formula, {"a": ref("a", shape, float)}, {"z": ref("z", shape, float)}, {}) for shape in shapes
        ]
        return len({each.text for each in printed if each is not None})

    softmax, twice = Formula({"z": exp(a) / row_sum(exp(a))}), Formula({"z": 2.0 * a})
    assert texts(softmax, (3, WIDE), (64, 128)) == 1
    assert texts(softmax, (3, FEW), (64, FEW)) == 1
    assert texts(softmax, (3, 2), (3, 3), (3, FEW + 1), (3, WIDE - 1), (3, WIDE)) == 4
    assert texts(twice, (3, 2), (3, 3), (64, 128)) == 1


def test_arrays_of_one_form_are_printed_for_once() -> None:
    """What lies elsewhere, as that of another layer or member does, has the same kernel, and nothing is printed again;
    an array that is overwritten, or that lies across another one, has not."""
    formula, n = Formula({"z": Sym("a") / row_sum(Sym("b"))}), 64 * 32

    def printed(a: Ref, b: Ref, z: Ref) -> Any:
        return print_kernel(formula, {"a": a, "b": b}, {"z": z}, {})

    def at(buffer: str, start: int) -> Ref:
        return Ref(Buffer(buffer, 4 * n, np.dtype(float)), (64, 32), (32, 1), start)

    first = printed(at("x", 0), at("x", n), at("y", 0))

    assert printed(at("y", n), at("y", 2 * n), at("w", 7)) is first
    assert printed(at("x", 0), at("x", 0), at("y", 0)).text != first.text
    assert printed(at("x", 0), at("x", n), at("x", 0)).text != first.text
    assert printed(at("x", 0), at("x", n), at("x", 2 * n)) is not printed(at("x", 0), at("x", n), at("x", n + 32))


@pytest.mark.parametrize("edges", [(0, 1), (0, 1, 4), (0, 1, 2, 4)], ids=str)
@pytest.mark.parametrize("axis", [-1, -2])
@pytest.mark.parametrize("name", ["softmax", "in place", "bias and sums"])
def test_parts_of_a_formula_have_one_kernel(name: str, axis: int, edges: tuple[int, ...]) -> None:
    """Text, sizes and places are those that printing anew would give, for every thread's part of units or of rows."""
    a, z = np.ones((64, 64)), np.zeros((64, 64))
    formula, outs, sums = {
        "softmax": (Formula({"z": exp(Sym("a")) / row_sum(exp(Sym("a")))}), {"z": z}, {}),
        "in place": (Formula({"z": Sym("a") + Sym("c")}), {"z": a}, {}),
        "bias and sums": (Formula({"z": Sym("a") * Sym("b")}), {"z": z}, {"z": np.zeros(64)} if axis == -1 else {}),
    }[name]
    arrays = {"a": a, "b": np.ones((1, 64)), "c": np.ones(())}
    used = {key: value for key, value in arrays.items() if key in formula.symbols()}
    tape = ArrayTape(NumbaBackend(3, Least(1, 1, 1, 1, units=0)))
    tape.add(Apply(formula, tape.refs(used), tape.refs(outs), tape.refs(sums)))
    ((call, _),) = tape.calls()
    assert isinstance(call, FormulaCall)
    rows = frozenset([tape.ref(a)]) if axis == -2 else frozenset()

    kernel = call.kernel(Cut(edges, rows=rows))

    axis = -2 if name == "softmax" else axis
    for part, block in zip(Cut(edges).parts(64), kernel.blocks().tolist(), strict=True):
        groups = [
            {key: np.moveaxis(np.moveaxis(x, axis, 0)[part], 0, axis) if x.shape[axis:][:1] == (64,) else x
             for key, x in group.items()}
            for group in (used, outs, sums)
        ]  # fmt: skip
        fresh = print_kernel(formula, *map(tape.refs, groups))
        assert fresh is not None
        assert block[:-1] == [*fresh.sizes, *(address(groups[group][key]) for group, key in fresh.places)]
        assert store.load(fresh.text).kernel.address == kernel.address


@pytest.mark.parametrize("n", [2, FEW, FEW + 1, WIDE, 100])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_no_number_spoils_its_row(n: int, dtype: Any) -> None:
    """A NaN anywhere in a row makes NaN of all of its softmax, though its largest may be found without it."""
    a = Sym("a")
    formula = Formula({"z": exp(a - row_max(a)) / row_sum(exp(a - row_max(a)))})
    x, z = np.zeros((n + 1, n), dtype), np.zeros((n + 1, n), dtype)
    np.fill_diagonal(x, np.nan)
    tape = ArrayTape(NumbaBackend())
    tape.add(Apply(formula, {"a": tape.ref(x)}, {"z": tape.ref(z)}))

    tape.run()

    assert np.isnan(z[:-1]).all()
    np.testing.assert_allclose(z[-1], 1 / n, rtol=1e-6)


def test_the_store_trusts_only_what_it_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of another text under a kernel's name is written anew, and never run."""
    monkeypatch.setattr(store, "folder", lambda: tmp_path)
    first = store.load("ANSWER = 41\n")
    planted = tmp_path / f"{first.__name__}.py"
    monkeypatch.delitem(sys.modules, first.__name__)
    planted.write_text("raise SystemExit('planted')\n", encoding="utf-8")

    assert store.load("ANSWER = 41\n").ANSWER == 41
    assert planted.read_text(encoding="utf-8") == "ANSWER = 41\n"


@pytest.mark.parametrize("mode", [0o777, 0o720])
def test_a_folder_that_others_may_write_is_not_used(mode: int, tmp_path: Path) -> None:
    """Kernels go to a fresh folder instead, which is the user's alone."""
    shared = tmp_path / "fcnet"
    shared.mkdir()
    script = f"""
import os, fcnet
os.environ["XDG_CACHE_HOME"] = {str(tmp_path)!r}
from pathlib import Path
from fcnet.backends.numba import store
wanted = Path({str(shared)!r}) / store.name()
wanted.mkdir()
wanted.chmod({mode})
print(store.folder() == wanted, oct(store.folder().stat().st_mode & 0o777))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["False", oct(stat.S_IRWXU)]


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_every_number_can_stand_in_a_kernel(kind: Any) -> None:
    """Zeros of both signs, infinities and NaN as constants of a formula give what NumPy gives; a zero has any sign."""
    a, numbers = np.array([[1.5, -0.5, 0.0]], kind), (0.0, -0.0, np.inf, -np.inf, np.nan)
    results = {f"{i}+": Sym("a") + number for i, number in enumerate(numbers)}
    results |= {f"{i}max": maximum(Sym("a"), number) for i, number in enumerate(numbers)}
    outs = {name: np.zeros_like(a) for name in results}
    tape = ArrayTape(NumbaBackend(1))
    tape.add(Apply(Formula(results), tape.refs({"a": a}), tape.refs(outs)))

    tape.run()

    for i, number in enumerate(numbers):
        np.testing.assert_array_equal(outs[f"{i}+"], a + kind(number))
        np.testing.assert_array_equal(outs[f"{i}max"], np.maximum(a, kind(number)))


@pytest.mark.parametrize("setting", ["NUMBA_OPT", "NUMBA_BOUNDSCHECK"])
def test_kernels_of_other_settings_lie_apart(setting, monkeypatch):
    """Numba would take machine code that was once compiled without optimisation for that of every later process."""
    monkeypatch.delenv(setting, raising=False)
    usual = store.name.__wrapped__()
    monkeypatch.setenv(setting, "0")

    assert store.name.__wrapped__() != usual
    monkeypatch.delenv(setting)
    assert store.name.__wrapped__() == usual


def test_a_net_s_kernels_are_known_to_be_compiled_by_their_machine_code(monkeypatch, tmp_path):
    """A few kernels, as a trial of Numba leaves them, are no net's; looking makes nothing."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    before = store.ready(), list(tmp_path.iterdir())
    place = tmp_path / "fcnet" / store.name() / "_fcnet_kernel"
    place.mkdir(parents=True)
    for i in range(6):
        (place / f"{i}.nbi").touch()
    few = store.ready()
    for i in range(40):
        (place / f"{i}.nbi").touch()

    assert before == (False, [])
    assert not few
    assert store.ready()
