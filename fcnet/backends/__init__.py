"""Where the arithmetic happens: a step's kernel calls, bound to arrays by NumPy or whatever else is fast.

A folder here is a backend, which `OFFER` in its `__init__` offers; that imports nothing that is slow or may be missing.
"""

import pkgutil

__all__ = sorted(each.name for each in pkgutil.iter_modules(__path__) if each.ispkg)  # noqa: PLE0605
