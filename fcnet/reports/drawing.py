"""Pictures as SVG, drawn without a library: axes with round numbers, lines, bars, dots; described for those who listen.

A picture is about as wide as a telephone, so that its letters are readable there; on wide pages several stand beside
one another. Colours and dashes are the page's (`fcnet/reports/page.py`), by the classes c1 … c6.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fcnet.formulas.notation import compact
from fcnet.records import dataclass, field
from fcnet.reports.page import text

Array = NDArray[Any]

WIDTH, HEIGHT = 380, 260
LEFT, RIGHT, TOP, BOTTOM = 50, 12, 10, 40

SERIES = 6
POINTS = 1500
"""So many dots are drawn at most."""

MOST = 1e300
"""No axis goes further: the distance of its ends is a number."""

VERTICES = 400
"""So many points has a line at most: about one for each pixel."""


@dataclass(frozen=True)
class Axis:
    """From `low` to `high`, which differ; `log`: both are positive, and equal factors are equal distances."""

    label: str
    low: float
    high: float
    log: bool = False

    @classmethod
    def of(cls, label: str, values: Iterable[float], *, log: bool | None = False, zero: bool = False) -> Axis:
        """An axis that holds all finite values; `log` None: where they are positive and span a factor of 30.

        `zero`: it begins at 0.
        """
        sound = [v for v in values if math.isfinite(v)] or [0.0]
        found = np.clip(np.asarray(sound, dtype=np.float64), -MOST, MOST)
        low, high = float(found.min()), float(found.max())
        if log is None:
            log = low > 0 and high > 30 * low
        if log:
            return cls(label, low / 1.1, high * 1.1, True)
        if zero:
            low = min(low, 0.0)
        room = (high - low) * 0.04 or max(abs(high), 1.0) * 0.04
        return cls(label, low if zero and low == 0.0 else low - room, high + room)

    def __call__(self, values: Any) -> Array:
        """Where values lie, from 0 at `low` to 1 at `high`, not beyond by more than a little."""
        v = np.asarray(values, dtype=np.float64)
        if self.log:
            place = np.log(np.maximum(v, 1e-300) / self.low) / math.log(self.high / self.low)
        else:
            place = (v - self.low) / (self.high - self.low)
        return np.clip(place, -0.02, 1.02)

    def ticks(self) -> list[float]:
        """Round numbers from `low` to `high`, about five."""
        if self.log:
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            every = max(1, round((last - first) / 5))
            steps: tuple[int, ...] = (1, 2, 5) if last - first <= 2 else (1,)
            found = [m * 10.0**e for e in range(first, last + 1, every) for m in steps]
        else:
            rough = (self.high - self.low) / 5
            unit = 10.0 ** math.floor(math.log10(rough))
            step = next(m * unit for m in (1, 2, 5, 10) if m * unit >= rough * 0.999)
            first = math.ceil(self.low / step - 1e-9)
            found = [i * step for i in range(first, math.floor(self.high / step + 1e-9) + 1)]
        return [v for v in found if self.low * (1 - 1e-9) <= v <= self.high * (1 + 1e-9) or not self.log]


@dataclass
class Picture:
    """A plot: `title` and `about` say what it shows, `about` in words what can be seen in it."""

    title: str
    about: str
    x: Axis
    y: Axis
    note: str = ""
    _marks: list[str] = field(default_factory=list)
    _keys: list[tuple[str, str]] = field(default_factory=list)

    def line(self, xs: Any, ys: Any, name: str = "", color: int = 1, steps: bool = False) -> None:
        """A line through the points; it is interrupted where one is not finite."""
        x, y = np.asarray(xs, dtype=np.float64), np.asarray(ys, dtype=np.float64)
        if len(x) > VERTICES:
            keep = np.unique(np.linspace(0, len(x) - 1, VERTICES).astype(int))
            x, y = x[keep], y[keep]
        kind = f"c{(color - 1) % SERIES + 1} line"
        whole = np.isfinite(x) & np.isfinite(y)
        for sound, group in itertools.groupby(range(len(x)), lambda i: bool(whole[i])):
            at = list(group)
            if sound:
                px, py = self._place(x[at], y[at])
                moves = "HV" if steps else ""
                path = "".join(
                    f"{'M' if i == 0 else 'L'}{a:.1f} {b:.1f}" if not (moves and i) else f"H{a:.1f}V{b:.1f}"
                    for i, (a, b) in enumerate(zip(px, py, strict=True))
                )
                if len(at) == 1:
                    self.mark(x[at][0], y[at][0], color)
                else:
                    self._marks.append(f'<path class="{kind}" d="{path}"/>')
        self.key(name, kind)

    def dots(self, xs: Any, ys: Any, name: str = "", color: int = 1) -> None:
        """A dot for each point; of many, evenly chosen ones."""
        x, y = np.asarray(xs, dtype=np.float64), np.asarray(ys, dtype=np.float64)
        if len(x) > POINTS:
            keep = np.linspace(0, len(x) - 1, POINTS).astype(int)
            x, y = x[keep], y[keep]
        sound = np.isfinite(x) & np.isfinite(y)
        px, py = self._place(x[sound], y[sound])
        dots = "".join(f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2.4"/>' for a, b in zip(px, py, strict=True))
        self._marks.append(f'<g class="c{color} dot">{dots}</g>')
        self.key(name, f"c{color} dot")

    def mark(self, x: float, y: float, color: int = 1) -> None:
        """One point that stands out."""
        px, py = self._place([x], [y])
        self._marks.append(f'<circle class="c{color} mark" cx="{px[0]:.1f}" cy="{py[0]:.1f}" r="4"/>')

    def bars(self, edges: Any, heights: Any) -> None:
        """Bars from 0 between neighbouring edges."""
        x, _ = self._place(edges, np.zeros(len(edges)))
        _, y = self._place(np.zeros(len(heights)), heights)
        base = self._place([0.0], [max(self.y.low, 0.0)])[1][0]
        drawn = "".join(
            f'<rect x="{a:.1f}" y="{min(top, base):.1f}" width="{max(b - a, 0.5):.1f}" height="{abs(base - top):.1f}"/>'
            for a, b, top in zip(x[:-1], x[1:], y, strict=True)
        )
        self._marks.append(f'<g class="c1 bar">{drawn}</g>')

    def rule(self, *, x: float | None = None, y: float | None = None, says: str = "") -> None:
        """A thin line across, at x or at y, and what it says."""
        if x is not None:
            at = self._place([x], [self.y.low])[0][0]
            self._marks.append(f'<path class="rule" d="M{at:.1f} {TOP}V{HEIGHT - BOTTOM}"/>')
            where, anchor = (at - 4, "end") if at > WIDTH / 2 else (at + 4, "start")
            self._marks.append(f'<text x="{where:.1f}" y="{TOP + 10}" text-anchor="{anchor}">{text(says)}</text>')
        if y is not None:
            at = self._place([self.x.low], [y])[1][0]
            self._marks.append(f'<path class="rule" d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}"/>')
            if says:
                place = f'x="{WIDTH - RIGHT - 2}" y="{at - 4:.1f}" text-anchor="end"'
                self._marks.append(f"<text {place}>{text(says)}</text>")

    def key(self, name: str, kind: str) -> None:
        """An entry of the legend."""
        if name and (name, kind) not in self._keys:
            self._keys.append((name, kind))

    def _place(self, xs: Any, ys: Any) -> tuple[Array, Array]:
        return (
            LEFT + self.x(xs) * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - self.y(ys) * (HEIGHT - TOP - BOTTOM),
        )

    def figure(self, key: str) -> str:
        """The picture with its words, as HTML; `key` is unique on the page."""
        keys = "".join(f"<li>{_sample(kind)}{text(name)}</li>" for name, kind in self._keys)
        legend = f'<ul class="keys">{keys}</ul>' if keys else ""
        words = f"<strong>{text(self.title)}</strong>{text(self.note)}{legend}"
        return f"<figure><figcaption>{words}</figcaption>{self.svg(key)}</figure>"

    def svg(self, key: str) -> str:
        """The picture alone."""
        right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
        parts = []
        for v in self.x.ticks():
            at = self._place([v], [self.y.low])[0][0]
            parts.append(f'<path class="grid" d="M{at:.1f} {TOP}V{bottom}"/>')
            parts.append(f'<text x="{at:.1f}" y="{bottom + 14}" text-anchor="middle">{short(v)}</text>')
        for v in self.y.ticks():
            at = self._place([self.x.low], [v])[1][0]
            parts.append(f'<path class="grid" d="M{LEFT} {at:.1f}H{right}"/>')
            parts.append(f'<text x="{LEFT - 5}" y="{at + 3.5:.1f}" text-anchor="end">{short(v)}</text>')
        middle = (TOP + bottom) / 2
        names = (
            f'<text x="{(LEFT + right) / 2:.0f}" y="{HEIGHT - 8}" text-anchor="middle">{text(self.x.label)}</text>'
            f'<text transform="translate(11 {middle:.0f}) rotate(-90)" text-anchor="middle">{text(self.y.label)}</text>'
        )
        return (
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="{key}-t {key}-d">'
            f'<title id="{key}-t">{text(self.title)}</title><desc id="{key}-d">{text(self.about)}</desc>'
            f"{''.join(parts)}{''.join(self._marks)}{names}</svg>"
        )


def _sample(kind: str) -> str:
    """A piece of what a legend speaks of."""
    shape = '<path d="M0 5H24"/>' if "line" in kind else '<circle cx="12" cy="5" r="4"/>'
    shape = '<rect x="3" y="0" width="18" height="10"/>' if "bar" in kind else shape
    return f'<svg viewBox="0 0 24 10" aria-hidden="true"><g class="{kind}">{shape}</g></svg>'


def short(v: float) -> str:
    """A number on an axis.

    >>> [short(v) for v in (0.1 + 0.2, 2000.0, 1e-05, 3.0, 1500000.0, -0.0)]
    ['0.3', '2000', '1e-5', '3', '1.5e6', '0']
    """
    v = float(f"{v:.6g}") + 0.0
    if v == 0 or 1e-3 <= abs(v) < 1e5:
        return f"{v:.10g}"
    return compact(v).replace("e+0", "e").replace("e+", "e")


def figures(pictures: Sequence[Picture], prefix: str) -> str:
    """Pictures beside one another where there is room."""
    drawn = "".join(picture.figure(f"{prefix}-{i}") for i, picture in enumerate(pictures, 1))
    return f'<div class="figures">{drawn}</div>' if drawn else ""
