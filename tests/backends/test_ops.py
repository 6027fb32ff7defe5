"""Operations as data: parts of buffers are NumPy's views, and an operation says what it reads and writes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fcnet.backends.base import Binding
from fcnet.backends.ops import Accumulate, Advance, Apply, Host, Lap, Matmul, Phase, Ref, Update, buffers, like, ref
from fcnet.formulas import Formula, Sym

VIEWS: dict[str, Callable[[Any], Any]] = {
    "all": lambda x: x,
    "rows": lambda x: x[1:],
    "rows from behind": lambda x: x[-2:-1],
    "no rows": lambda x: x[3:1],
    "columns": lambda x: x[..., 2:5],
    "columns of rows": lambda x: x[1:3][..., 1:],
    "members and units exchanged": lambda x: x.swapaxes(0, -1),
    "transposed rows": lambda x: x.swapaxes(-1, -2)[..., :2],
    "in a row": lambda x: x.reshape((1, 60)),
    "a number": lambda x: x.reshape((60,))[7:][:1].reshape(()),
    "units of two features": lambda x: x[..., 1:].split(2) if isinstance(x, Ref) else x[..., 1:].reshape(3, 4, 2, 2),
    "rows of rows": lambda x: x[2:].reshape((4, 5))[1:3],
}


@pytest.mark.parametrize("name", VIEWS)
def test_parts_of_a_buffer_are_views_as_numpy_makes_them(name: str) -> None:
    """A part has the shape, the strides and the memory of the same part of the array that is resident."""
    held = np.arange(60.0).reshape(3, 4, 5)
    expected = VIEWS[name](held)

    part: Ref = VIEWS[name](like("x", held))
    found = Binding({"x": held})(part)

    assert (part.shape, part.size, part.ndim, part.dtype) == (
        expected.shape,
        expected.size,
        expected.ndim,
        expected.dtype,
    )
    np.testing.assert_array_equal(found, expected)
    found[...] = -1
    assert (expected == -1).all()
    assert np.count_nonzero(held == -1) == expected.size
    assert part.whole == (name in ("all", "in a row"))


def test_axes_meet_by_their_names() -> None:
    """Whatever axes an array lacks it is the same along, and the others stand where those of that name do."""
    z, w, members = np.arange(8.0).reshape(2, 4), np.arange(12.0).reshape(4, 3), np.arange(24.0).reshape(2, 4, 3)
    names = {"z": (z, ("row", "feature")), "w": (w, ("feature", "unit")), "m": (members, ("feature", "unit"))}
    at = Binding({name: array for name, (array, _) in names.items()})

    on = {name: at(like(name, array).on(*axes)) for name, (array, axes) in names.items()}

    np.testing.assert_array_equal(on["z"] * on["w"], np.einsum("rf,fu->fru", z, w))
    np.testing.assert_array_equal(on["z"] + on["m"], z.T[None, :, :, None] + members[:, :, None, :])
    parts = at(like("z", z).split(2).on("row", "feature", "unit"))
    np.testing.assert_array_equal(parts, z.reshape(2, 2, 2).transpose(1, 0, 2))


def test_an_operation_says_what_it_reads_and_writes() -> None:
    """What is changed in place is both; what a step is marked with is neither."""
    a, b, c, t = (ref(name, 4, np.float64) for name in ("a", "b", "c", "t"))
    formula = Formula({"r": Sym("x") + 1.0})
    total = ref("total", (), np.float64)
    cases = [
        (Matmul(a, b, c), {a, b}, {c}),
        (Apply(formula, {"x": a}, {"r": b}, {"r": c}), {a}, {b, c}),
        (Accumulate(a, total), {a, total}, {total}),
        (Update(formula, {"s": total}, {"x": a, "r": b}), {total, a, b}, {a, b}),
        (Advance(3, a), {a}, {a}),
        (Host(print, {"a": a}), {a}, {a}),
        (Lap({"a": a}, b, c), {a, b, c}, {b, c}),
        (Phase("loss"), set(), set()),
    ]

    for op, read, written in cases:
        assert (set(op.reads), set(op.writes)) == (read, written), op
    assert set(buffers([op for op, *_ in cases])) == {"a", "b", "c", "total"}
    assert t.buffer not in buffers([op for op, *_ in cases]).values()


def test_a_buffer_is_as_large_as_its_largest_use() -> None:
    """Batches of several sizes share memory, which the largest decides, in whatever order they come."""
    ops = [Matmul(*(ref(name, (n, n), np.float32) for name in "abc")) for n in (2, 5, 3)]

    assert {name: buffer.size for name, buffer in buffers(ops).items()} == dict.fromkeys("abc", 25)
