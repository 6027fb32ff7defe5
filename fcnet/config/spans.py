"""Times as people write them: `90s`, `30m`, `1h30m`, `2d`."""

from __future__ import annotations

import math
import re

from fcnet.registry import Such

_SPAN = re.compile(r"(?:(\d+(?:\.\d+)?)d)?(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?", re.ASCII)


def seconds(text: str) -> float | None:
    """How long `text` is in seconds; None where it is no time, none at all, or without end.

    >>> seconds("1h30m"), seconds("0.5s"), seconds("soon"), seconds("0s"), seconds("9" * 400 + "d")
    (5400.0, 0.5, None, None, None)
    """
    found = _SPAN.fullmatch(text)
    parts = found.groups() if found else ()
    total = sum(float(n) * unit for n, unit in zip(parts, (86400, 3600, 60, 1), strict=False) if n)
    return total if 0 < total < math.inf else None


SPAN = Such(lambda text: seconds(text) is not None, "a time such as 90s, 10m or 1h30m")
"""A text that is a time."""
