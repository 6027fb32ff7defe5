"""The encodings of columns, one in each file; whatever file is put here with an encoding in it is one more."""

from __future__ import annotations

import pkgutil

from fcnet.data.encodings.encoding import (
    CATEGORICAL,
    NUMERIC,
    CategoryColumn,
    Fitted,
    NumberColumn,
    OfCategories,
    OfNumbers,
    encoded,
)
from fcnet.registry import members

_files = sorted(each.name for each in pkgutil.iter_modules(__path__))
__all__ = [*_files]  # noqa: PLE0604
from fcnet.data.encodings import *  # noqa: E402, F403  the files that have just been named

for _module in _files:
    for _found in members(globals()[_module]):
        registry: dict[str, type] = CATEGORICAL if hasattr(_found, "into") else NUMERIC
        registry[vars(_found)["name"]] = _found

__all__ = [
    "CATEGORICAL",
    "NUMERIC",
    "CategoryColumn",
    "Fitted",
    "NumberColumn",
    "OfCategories",
    "OfNumbers",
    "encoded",
]
