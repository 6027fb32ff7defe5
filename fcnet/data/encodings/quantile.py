"""Numbers by their rank in training, spread like a normal distribution."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import numpy as np

from fcnet import random
from fcnet.data.encodings.encoding import Array, FittedState
from fcnet.data.statistics import moments
from fcnet.records import dataclass
from fcnet.registry import Ge, Le

EDGE = 1e-7
"""Shares are kept so far from 0 and 1, so that inputs stay within ±5.2."""

# Φ⁻¹(1/2 + q) / q as a ratio of polynomials in 0.425² − q², for |q| ≤ 0.425, and −Φ⁻¹(p) in r − 1.6 for
# r = √(−ln p) ≤ 5: Wichura, algorithm AS 241, Applied Statistics 37 (1988), to 1e-16; the constant comes first.
MIDDLE = (
    (3.387132872796366608, 133.14166789178437745, 1971.5909503065514427, 13731.693765509461125)
    + (45921.953931549871457, 67265.770927008700853, 33430.575583588128105, 2509.0809287301226727),
    (1.0, 42.313330701600911252, 687.1870074920579083, 5394.1960214247511077)
    + (21213.794301586595867, 39307.89580009271061, 28729.085735721942674, 5226.495278852854561),
)
TAIL = (
    (1.42343711074968357734, 4.6303378461565452959, 5.7694972214606914055, 3.64784832476320460504)
    + (1.27045825245236838258, 0.24178072517745061177, 0.0227238449892691845833, 7.7454501427834140764e-4),
    (1.0, 2.05319162663775882187, 1.6763848301838038494, 0.68976733498510000455)
    + (0.14810397642748007459, 0.0151986665636164571966, 5.475938084995344946e-4, 1.05075007164441684324e-9),
)


@dataclass(frozen=True)
class Quantile:
    """Φ⁻¹(p), p the share of training that is below x, interpolated between quantiles; Φ is the normal distribution's.

    The middle of the shares where a number is repeated; the least and the greatest number, and all beyond, become
    ∓5.2, as scikit-learn's QuantileTransformer has it. Where training has one number only, that becomes 0.
    """

    quantiles: Literal["auto"] | Annotated[int, Ge(2), Le(100_000)] = "auto"
    """How many quantiles are kept; `auto`: one for every 30 training rows, at least 10 and at most 1,000."""
    noise: Annotated[float, Ge(0), Le(1)] = 0.0
    """Normal noise on the training numbers before their quantiles are taken, as a share of their standard deviation:
    it keeps apart what is repeated (Gorishniy et al. take 1e-3 to 1e-5)."""
    name: Literal["quantile"] = "quantile"
    state: ClassVar[tuple[str, ...]] = ("quantiles",)

    def fit(self, values: Array, rows: int, column: str) -> FittedState:
        """Quantiles at equal shares from 0 to 1. The noise is words of ("noise", column)."""
        if self.noise:
            deviation = moments(values)[1] if values.min() < values.max() else 0.0
            values = values + self.noise * deviation * random.normal(len(values), random.key(0, f"noise/{column}"))
        n = max(min(rows // 30, 1000), 10) if self.quantiles == "auto" else self.quantiles
        part = 0.5 if np.abs(values).max() > np.finfo(np.float64).max / 2 else 1.0
        found = np.quantile(values * part, np.linspace(0.0, 1.0, n)) / part
        return {"quantiles": tuple(np.maximum.accumulate(found).tolist())}

    def encode(self, v: Array, state: Mapping[str, Array]) -> Array:
        """All columns at once, but for the search: piece by piece each call would cost more than what it does."""
        p = share(v, state["quantiles"])
        return inverse(p.reshape(-1)).reshape(v.shape)


def share(x: Array, quantiles: Array) -> Array:
    """The share of training below each of x (k, m), from its column's quantiles (k, ·) at equal shares."""
    shares, falling = np.linspace(0.0, 1.0, quantiles.shape[1]), -quantiles[:, ::-1]
    up, down = np.empty_like(x), np.empty_like(x)
    for i in range(len(x)):
        up[i], down[i] = np.interp(x[i], quantiles[i], shares), np.interp(-x[i], falling[i], -shares[::-1])
    least, greatest = x <= quantiles[:, :1], x >= quantiles[:, -1:]
    p = np.where(greatest, 1.0, np.where(least, 0.0, 0.5 * (up - down)))
    p[least & greatest] = 0.5
    return np.clip(p, EDGE, 1.0 - EDGE)


def inverse(p: Array) -> Array:
    """Φ⁻¹(p) for p (m,) float64 from 1e-10 to 1 − 1e-10.

    >>> inverse(np.array([0.5, 0.975])).round(3).tolist()
    [0.0, 1.96]
    """
    q = p - 0.5
    z = q * _ratio(MIDDLE, 0.180625 - q * q)
    outside = np.flatnonzero(np.abs(q) > 0.425)
    r = np.sqrt(-np.log(np.minimum(p[outside], 1.0 - p[outside])))
    z[outside] = np.copysign(_ratio(TAIL, r - 1.6), q[outside])
    return z


def _ratio(polynomials: tuple[tuple[float, ...], tuple[float, ...]], x: Array) -> Array:
    above, below = (np.polynomial.polynomial.polyval(x, c, tensor=False) for c in polynomials)
    return np.asarray(above / below)
