"""The Numba backend: formulas as fused loops, products in blocks of registers, chunks of steps without Python."""

from __future__ import annotations

import itertools
import sys
from types import ModuleType

import numpy as np

from fcnet.backends.base import Backend
from fcnet.backends.offer import Offer, Products, ProductShapes, paying
from fcnet.backends.ops import Apply, Matmul, like
from fcnet.formulas import Formula, Sym


def _make(threads: int, largest: int | None, products: Products) -> Backend:
    from fcnet.backends.numba import trial  # an extra, and slow to import
    from fcnet.backends.numba.backend import NumbaBackend

    if isinstance(products, ProductShapes):
        products = trial.chosen(products.shapes, products.dtype)
    return NumbaBackend(paying(threads, largest), products=products)


def _trial() -> ModuleType:
    """Numba, after a product and a formula were compiled, kept and made."""
    import numba

    from fcnet.backends.numba import store  # an extra, and slow to import

    tries = itertools.count()

    @store.kept
    def trial() -> None:
        if next(tries):  # what was imported keeps its machine code where it could not be kept
            for module in [name for name in sys.modules if name.startswith(f"{store.__package__}.")]:
                if module != store.__name__:
                    del sys.modules[module]
                    vars(sys.modules[store.__package__]).pop(module.rpartition(".")[2], None)
        from fcnet.backends.numba.backend import NumbaBackend

        arrays = {"x": np.ones((2, 16), np.float32), "unit": np.eye(16, dtype=np.float32)}
        arrays["y"] = np.zeros_like(arrays["x"])
        x, unit, y = (like(name, array) for name, array in arrays.items())
        formula = Formula({"y": Sym("x") + Sym("y")})
        NumbaBackend(1).compile([Matmul(x, unit, y), Apply(formula, {"x": x, "y": y}, {"y": y})], arrays).run()
        if not (arrays["y"] == 2).all():
            raise ArithmeticError("1 + 1 is not 2")

    trial()
    module: ModuleType = numba
    return module


def _ready() -> bool:
    from fcnet.backends.numba import store  # not where NumPy alone is wanted

    return store.ready()


OFFER = Offer(_make, "numba", _trial, _ready)
