"""Losses on a_N: value and gradient come out of one function, so that they cannot disagree.

The loss of a batch is L = (1/B) Σ w ℓ. Each class gives ℓ and ∂ℓ/∂a as expressions of the output layer's
pre-activations a and the targets y, and says all else that its outputs need: how many there are for each column of y,
what prediction follows from them, and how it stands in a file.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import field
from typing import Annotated, ClassVar, Literal

from fcnet.backends.ops import Accumulate, Apply, Ref, Tape
from fcnet.formulas import (
    Expr,
    Formula,
    Sym,
    absolute,
    exp,
    expm1,
    log,
    log1p,
    maximum,
    minimum,
    row_max,
    row_mean,
    row_sum,
    tanh,
    where,
    width,
)
from fcnet.nn.activations import Sigmoid, Softmax, Softplus, logistic
from fcnet.records import dataclass
from fcnet.registry import Ge, Gt, Len, Lt

Learnt = Literal["one_hot", "bits", "numbers", "amounts", "positive"]
"""What y is: one column a class, columns of 0 and 1, numbers, numbers that are 0 or more, or that are above 0."""

Exprs = tuple[Expr, ...]

LEAST = 1e-300
"""About the least number in float64."""


@dataclass(frozen=True)
class Said:
    """A number that is predicted of each target: its column in a file, where {} stands for the target's name.

    A `spread` is a length in the target's units, and no place.
    """

    column: str = "prediction{}"
    spread: bool = False


class Loss(ABC):
    """ℓ of one row, its gradient, and what a prediction is."""

    name: str
    learns: ClassVar[Learnt] = "numbers"

    @property
    def parts(self) -> tuple[str, ...]:
        """The symbols of what the net says of each column of y; a has their columns (…, B, n) side by side."""
        return ("a",)

    @abstractmethod
    def terms(self, a: Exprs, y: Expr) -> tuple[Expr, Exprs]:
        """(ℓ (…, B, 1), ∂ℓ/∂a of each part (…, B, n)) for the parts of a and targets y, all (…, B, n)."""

    def link(self, a: Exprs) -> Exprs:
        """The prediction of each part of a. Where it is a itself, the net may have an output activation."""
        return a

    @property
    def said(self) -> tuple[Said, ...]:
        """What is predicted of each target; the first is what metrics judge."""
        return (Said(),)

    def settled(self, p: Exprs) -> Exprs:
        """The predictions of all parts, where those of a row depend on each other."""
        return p

    def averaged(self, a: Exprs) -> Exprs:
        """What is averaged over several nets, of what one of them says: the predictions of all parts."""
        return self.settled(self.link(a))

    def unlink(self, p: Exprs, least: float = LEAST) -> Exprs:
        """What one net has to say for `averaged` to be p; `least`: the least number whose logarithm is taken."""
        return p

    def say(self, p: Exprs) -> Exprs:
        """What is said, of the predictions of all parts."""
        return p

    @property
    def band(self) -> tuple[int, int, int | None]:
        """Which of what is said are the ends of what is likely, and which is the unit of distances beyond (None: 1)."""
        return 0, 0, None

    @property
    def nats(self) -> Loss | None:
        """The loss that says what a prediction costs in nats, −ln p(truth): itself, but for its own additions, such as
        smoothed labels. None where p is none of its."""
        return None

    @property
    def on_values(self) -> bool:
        """Whether a prediction is what the net says."""
        return self.link(self.symbols) == self.symbols

    @property
    def symbols(self) -> Exprs:
        """The parts as symbols."""
        return tuple(map(Sym, self.parts))

    def split(self, a: Ref) -> dict[str, Ref]:
        """The columns of each part in a (…, B, parts · n)."""
        n = a.shape[-1] // len(self.parts)
        return {part: a[..., i * n : (i + 1) * n] for i, part in enumerate(self.parts)}


def forward_backward(k: Tape, loss: Loss, a: Ref, y: Ref, w: Ref | None, scale: Ref, out: LossArrays) -> None:
    """Record ε = scale · w · ∂ℓ/∂a into `out.ε` and add Σ w ℓ to `out.total`, in one formula.

    a (…, B, n_out), y (…, B, n_out / parts); w (B, 1) or None for ones; scale 0-d, 1 / rows of the global batch.
    """
    ℓ, slopes = loss.terms(loss.symbols, Sym("y"))
    weight = Sym("w") if w is not None else 1.0
    ε = {f"ε/{part}": (Sym("scale") * weight) * slope for part, slope in zip(loss.parts, slopes, strict=True)}
    arrays = {**loss.split(a), "y": y, "scale": scale} | ({} if w is None else {"w": w})
    outs = {f"ε/{part}": ref for part, ref in loss.split(out.ε).items()}
    k.add(Apply(Formula({"ℓ": weight * ℓ, **ε}), arrays, {"ℓ": out.ℓ, **outs}))
    k.add(Accumulate(out.ℓ, out.total))


def value(k: Tape, loss: Loss, a: Ref, y: Ref, ℓ: Ref) -> None:
    """Record ℓ (…, B, 1) of every row, without weights or gradient."""
    k.add(Apply(Formula({"ℓ": loss.terms(loss.symbols, Sym("y"))[0]}), {**loss.split(a), "y": y}, {"ℓ": ℓ}))


@dataclass(frozen=True)
class LossArrays:
    """Where a loss writes: ε (…, B, n), ℓ (…, B, 1), and the float64 0-d sum that it adds to."""

    ε: Ref
    ℓ: Ref
    total: Ref


@dataclass(frozen=True)
class SquaredError(Loss):
    """ℓ = mean over outputs of (a − y)²; PyTorch's MSELoss. Not halved."""

    name: Literal["squared_error"] = "squared_error"

    def terms(self, a: Exprs, y: Expr) -> tuple[Expr, Exprs]:
        """∂ℓ/∂a = 2 (a − y) / n."""
        d = a[0] - y
        return row_mean(d * d), (_per_output(2.0 * d, y),)


@dataclass(frozen=True)
class AbsoluteError(Loss):
    """ℓ = mean over outputs of |a − y|; PyTorch's L1Loss."""

    name: Literal["absolute_error"] = "absolute_error"

    def terms(self, a: Exprs, y: Expr) -> tuple[Expr, Exprs]:
        """∂ℓ/∂a = sign(a − y) / n, 0 where they are equal."""
        d = a[0] - y
        sign = where(d > 0.0, 1.0, 0.0) - where(d < 0.0, 1.0, 0.0)
        return row_mean(absolute(d)), (_per_output(sign, y),)


@dataclass(frozen=True)
class Huber(Loss):
    """ℓ = mean over outputs of ½ d² for |d| ≤ delta, else delta (|d| − ½ delta), d = a − y; PyTorch's HuberLoss."""

    name: Literal["huber"] = "huber"
    delta: Annotated[float, Gt(0)] = 1.0
    """Where the parabola becomes a line, in units of the (standardised) target."""

    def terms(self, a: Exprs, y: Expr) -> tuple[Expr, Exprs]:
        """With c = d clipped to ±delta: ℓ = c (d − ½ c), ∂ℓ/∂a = c / n."""
        d = a[0] - y
        c = minimum(maximum(d, -self.delta), self.delta)
        return row_mean(c * (d - 0.5 * c)), (_per_output(c, y),)


@dataclass(frozen=True)
class LogCosh(Loss):
    """ℓ = mean over outputs of ln cosh d, d = a − y: ½ d² where d is small, |d| − ln 2 where it is large."""

    name: Literal["log_cosh"] = "log_cosh"

    def terms(self, a: Exprs, y: Expr) -> tuple[Expr, Exprs]:
        """ln cosh d = |d| + ln(1 + exp(−2 |d|)) − ln 2; ∂ℓ/∂a = tanh d / n."""
        d = a[0] - y
        far = absolute(d)
        return row_mean(far + log1p(exp(-2.0 * far)) - math.log(2.0)), (_per_output(tanh(d), y),)


class OfClasses(Loss):
    """A loss of one-hot rows whose outputs are probabilities by softmax."""

    learns: ClassVar[Learnt] = "one_hot"

    def link(self, a: Exprs) -> Exprs:
        """p = softmax(a)."""
        return (Softmax().f(a[0]),)

    def unlink(self, p: Exprs, least: float = LEAST) -> Exprs:
        """a = ln p."""
        return (log(maximum(p[0], least)),)

    @property
    def nats(self) -> Loss:
        """Cross-entropy without smoothing."""
        return CrossEntropy()


@dataclass(frozen=True)
class CrossEntropy(OfClasses):
    """ℓ = −Σ y ln p, p = softmax(a), with y one-hot; PyTorch's CrossEntropyLoss without class weights.

    With `label_smoothing` s the targets are (1 − s) y + s / n (Szegedy et al. 2015). With class weights PyTorch divides
    by the sum of the batch's weights, where we divide by its rows, with weights of mean 1 over the training rows.
    """

    name: Literal["cross_entropy"] = "cross_entropy"
    label_smoothing: Annotated[float, Ge(0), Lt(1)] = 0.0
    """How much of each target is spread evenly over all classes."""

    def terms(self, a: Exprs, y: Expr) -> tuple[Expr, Exprs]:
        """∂ℓ/∂a = p − y: softmax's Jacobian and the logarithm's derivative collapse. ln p = a − max a − ln Σ e."""
        shifted = a[0] - row_max(a[0])
        e = exp(shifted)
        s = row_sum(e)
        if not self.label_smoothing:
            return log(s) - row_sum(y * shifted), (e / s - y,)
        # −Σ y' ln p = ln s − Σ y' shifted, since Σ y' = 1
        mean = row_mean(shifted)
        picked = (1.0 - self.label_smoothing) * row_sum(y * shifted) + self.label_smoothing * mean
        smooth = (1.0 - self.label_smoothing) * y + _per_output(self.label_smoothing, y)
        return log(s) - picked, (e / s - smooth,)


@dataclass(frozen=True)
class Focal(OfClasses):
    """ℓ = −Σ y (1 − p)^γ ln p, p = softmax(a): rows that are right and sure count for less (Lin et al. 2017).

    Without their weights α; `data.class_weight` has such.
    """

    name: Literal["focal"] = "focal"
    gamma: Annotated[float, Ge(0)] = 2.0
    """γ; at 0 it is cross_entropy."""

    def terms(self, a: Exprs, y: Expr) -> tuple[Expr, Exprs]:
        """With u = 1 − p and g = u^γ (γ p ln p / u − 1): ∂ℓ/∂a = y g − p Σ y g. Near p = 1, ln p / u is −1 − u / 2."""
        shifted = a[0] - row_max(a[0])
        e = exp(shifted)
        s = row_sum(e)
        p, u, ln = e / s, maximum(1.0 - e / s, 1e-37), shifted - log(s)
        share = exp(self.gamma * log(u))
        ratio = where(u < 1e-4, -1.0 - 0.5 * u, ln / u)
        g = y * (share * (self.gamma * p * ratio - 1.0))
        return -row_sum(y * (share * ln)), (g - p * row_sum(g),)


@dataclass(frozen=True)
class Hinge(OfClasses):
    """ℓ = max over k of (a_k + [k ≠ t]) − a_t, t the class: 0 once a_t is larger by 1 (Crammer and Singer 2001).

    Of two classes it is max(0, 1 − d), d the difference of their outputs. Its outputs are made for decisions;
    probabilities are their softmax, which `calibration` mends.
    """

    name: Literal["hinge"] = "hinge"

    def terms(self, a: Exprs, y: Expr) -> tuple[Expr, Exprs]:
        """With v = a + 1 − y: ∂ℓ/∂a = [v is the largest] − y, shared among those that are."""
        v = a[0] + (1.0 - y)
        most = row_max(v)
        # by more than rounding, for v is computed anew
        top = where(most - v > 1e-6 * maximum(absolute(most), 1.0), 0.0, 1.0)
        return most - row_sum(y * a[0]), (top / row_sum(top) - y,)


@dataclass(frozen=True)
class BinaryCrossEntropy(Loss):
    """ℓ = mean over outputs of −y ln p − (1 − y) ln(1 − p), p = σ(a); PyTorch's BCEWithLogitsLoss."""

    name: Literal["binary_cross_entropy"] = "binary_cross_entropy"
    learns: ClassVar[Learnt] = "bits"

    def terms(self, a: Exprs, y: Expr) -> tuple[Expr, Exprs]:
        """ℓ = mean of max(a, 0) − a y + ln(1 + exp(−|a|)); ∂ℓ/∂a = (p − y) / n."""
        ℓ = maximum(a[0], 0.0) - a[0] * y + log1p(exp(-absolute(a[0])))
        return row_mean(ℓ), (_per_output(logistic(a[0]) - y, y),)

    def link(self, a: Exprs) -> Exprs:
        """p = σ(a)."""
        return (Sigmoid().f(a[0]),)

    def averaged(self, a: Exprs) -> Exprs:
        """p, and 1 − p = σ(−a), where the difference would leave nothing."""
        return Sigmoid().f(a[0]), Sigmoid().f(-a[0])

    def unlink(self, p: Exprs, least: float = LEAST) -> Exprs:
        """a = ln p − ln(1 − p)."""
        return (log(maximum(p[0], least)) - log(maximum(p[1], least)),)

    @property
    def nats(self) -> Loss:
        """Itself."""
        return self


@dataclass(frozen=True)
class Pinball(Loss):
    """ℓ = mean over levels τ and outputs of max(τ d, (τ − 1) d), d = y − a, with an output for each level (Koenker and
    Bassett 1978).

    The prediction is the level nearest to one half. Where the outputs of a row are not in the order of their levels,
    the predictions are the same numbers in order (Chernozhukov, Fernández-Val and Galichon 2010).
    """

    name: Literal["quantile"] = "quantile"
    levels: Annotated[list[Annotated[float, Gt(0), Lt(1)]], Len(1, 32)] = field(default_factory=lambda: [0.1, 0.5, 0.9])
    """The shares of rows that are to lie below each number that is predicted, in any order."""

    @property
    def ascending(self) -> list[float]:
        """The levels from the lowest on, each once."""
        return sorted(set(self.levels))

    @property
    def parts(self) -> tuple[str, ...]:
        """One for each level."""
        return tuple(f"a{i}" for i in range(1, len(self.ascending) + 1))

    def terms(self, a: Exprs, y: Expr) -> tuple[Expr, Exprs]:
        """∂ℓ/∂a = (−τ for d > 0, 1 − τ for d < 0, 0 where they are equal) / n / levels."""
        ℓ: list[Expr] = []
        slopes: list[Expr] = []
        share = 1.0 / len(a)
        for τ, part in zip(self.ascending, a, strict=True):
            d = y - part
            ℓ.append(share * row_mean(maximum(τ * d, (τ - 1.0) * d)))
            sign = (1.0 - τ) * where(d < 0.0, 1.0, 0.0) - τ * where(d > 0.0, 1.0, 0.0)
            slopes.append(_per_output(share * sign, y))
        return sum(ℓ[1:], ℓ[0]), tuple(slopes)

    @property
    def said(self) -> tuple[Said, ...]:
        """The prediction, then every level."""
        return (Said(), *(Said(f"prediction{{}}@{level}") for level in self.ascending))

    def settled(self, p: Exprs) -> Exprs:
        """In order: as many rounds as there are levels exchange every other pair of neighbours."""
        ordered = [*p]
        for i in (i for start in range(len(p)) for i in range(start % 2, len(p) - 1, 2)):
            low, high = ordered[i : i + 2]
            ordered[i : i + 2] = minimum(low, high), maximum(low, high)
        return tuple(ordered)

    def say(self, p: Exprs) -> Exprs:
        """The middle one, and all."""
        ordered = self.settled(p)
        middle = min(range(len(self.ascending)), key=lambda i: abs(self.ascending[i] - 0.5))
        return ordered[middle], *ordered

    @property
    def band(self) -> tuple[int, int, int | None]:
        """The lowest and the highest level (Romano, Patterson and Candès 2019)."""
        return 1, len(self.ascending), None


@dataclass(frozen=True)
class Gaussian(Loss):
    """ℓ = mean over outputs of ln σ + ½ ((y − μ) / σ)², σ = softplus(s) + floor, with two outputs μ and s for each
    target (Nix and Weigend 1994); PyTorch's GaussianNLLLoss of the variance σ²."""

    name: Literal["gaussian"] = "gaussian"
    floor: Annotated[float, Gt(0)] = 1e-3
    """The least deviation, in units of the (standardised) target."""

    @property
    def parts(self) -> tuple[str, ...]:
        """Mean and spread."""
        return ("μ", "s")

    def terms(self, a: Exprs, y: Expr) -> tuple[Expr, Exprs]:
        """With u = (μ − y) / σ: ∂ℓ/∂μ = u / σ / n, ∂ℓ/∂s = (1 − u²) / σ · softplus'(s) / n."""
        μ, σ = self.link(a)
        u = (μ - y) / σ
        slope = (1.0 - u * u) / σ * logistic(a[1])
        return row_mean(log(σ) + 0.5 * (u * u)), (_per_output(u / σ, y), _per_output(slope, y))

    def link(self, a: Exprs) -> Exprs:
        """μ and σ."""
        return a[0], Softplus().f(a[1]) + self.floor

    def unlink(self, p: Exprs, least: float = LEAST) -> Exprs:
        """μ, and s = t + ln(1 − e⁻ᵗ) with t = σ − floor."""
        t = maximum(p[1] - self.floor, least)
        return p[0], t + log(-expm1(-t))

    @property
    def said(self) -> tuple[Said, ...]:
        """The mean, and the standard deviation."""
        return Said(), Said("deviation{}", spread=True)

    @property
    def band(self) -> tuple[int, int, int | None]:
        """The mean, in deviations."""
        return 0, 0, 1


_STEEP = 50.0  # float32 ends at e⁸⁸


class Amounts(Loss):
    """A loss of numbers that are not below 0, whose output is the logarithm of their mean m."""

    learns: ClassVar[Learnt] = "amounts"

    def link(self, a: Exprs) -> Exprs:
        """m = eᵃ."""
        return (exp(a[0]),)

    def unlink(self, p: Exprs, least: float = LEAST) -> Exprs:
        """a = ln m."""
        return (log(maximum(p[0], least)),)


@dataclass(frozen=True)
class Poisson(Amounts):
    """ℓ = mean over outputs of m − y + y ln(y / m), m = eᵃ the mean, y ≥ 0: half the deviance of counts, which is
    0 where they are equal; PyTorch's PoissonNLLLoss but for y ln y − y, which no parameter changes.

    Beyond a = 50 it goes on as a straight line, so that one step too far does not make it infinite.
    """

    name: Literal["poisson"] = "poisson"

    def terms(self, a: Exprs, y: Expr) -> tuple[Expr, Exprs]:
        """∂ℓ/∂a = (m − y) / n."""
        near = minimum(a[0], _STEEP)
        m = exp(near)
        least = maximum(y, 1e-37)  # 0 ln 0 is 0
        ℓ = m * (1.0 + (a[0] - near)) - y + y * (log(least) - a[0])
        return row_mean(ℓ), (_per_output(m - y, y),)


@dataclass(frozen=True)
class Gamma(Amounts):
    """ℓ = mean over outputs of y / m − 1 − ln(y / m), m = eᵃ the mean, y > 0: half the deviance of a gamma
    distribution, for amounts whose deviation grows with their mean; scikit-learn's mean_gamma_deviance, halved.

    Below a = −50 it goes on as a straight line.
    """

    name: Literal["gamma"] = "gamma"
    learns: ClassVar[Learnt] = "positive"

    def terms(self, a: Exprs, y: Expr) -> tuple[Expr, Exprs]:
        """∂ℓ/∂a = (1 − y / m) / n."""
        near = maximum(a[0], -_STEEP)
        r = y * exp(-near)
        ℓ = r * (1.0 + (near - a[0])) - 1.0 - log(maximum(y, 1e-37)) + a[0]
        return row_mean(ℓ), (_per_output(1.0 - r, y),)


@dataclass(frozen=True)
class Tweedie(Amounts):
    """ℓ = mean over outputs of y^(2 − q) / ((1 − q) (2 − q)) − y m^(1 − q) / (1 − q) + m^(2 − q) / (2 − q), m = eᵃ the
    mean, y ≥ 0: half the deviance of amounts that are often 0, such as claims; scikit-learn's mean_tweedie_deviance,
    halved. q is the `power`.

    Beyond a = ±50 it goes on as straight lines.
    """

    name: Literal["tweedie"] = "tweedie"
    power: Annotated[float, Gt(1), Lt(2)] = 1.5
    """q: the variance grows as m^q; near 1 it is like `poisson`, near 2 like `gamma`."""

    def terms(self, a: Exprs, y: Expr) -> tuple[Expr, Exprs]:
        """∂ℓ/∂a = (m^(2 − q) − y m^(1 − q)) / n."""
        q = self.power
        near = minimum(maximum(a[0], -_STEEP), _STEEP)
        down, up = y * exp((1.0 - q) * near), exp((2.0 - q) * near)
        own = where(y > 0.0, exp((2.0 - q) * log(maximum(y, 1e-37))), 0.0)
        ℓ = own * (1.0 / ((1.0 - q) * (2.0 - q))) + down * (1.0 / (q - 1.0)) + up * (1.0 / (2.0 - q))
        return row_mean(ℓ + (up - down) * (a[0] - near)), (_per_output(up - down, y),)


def _per_output(x: Expr | float, y: Expr) -> Expr:
    """x / n, n the number of a row's columns: ℓ is a mean over them."""
    return x * (1.0 / width(y))


LOSSES: dict[str, type[Loss]] = {
    "squared_error": SquaredError,
    "absolute_error": AbsoluteError,
    "huber": Huber,
    "log_cosh": LogCosh,
    "cross_entropy": CrossEntropy,
    "binary_cross_entropy": BinaryCrossEntropy,
    "focal": Focal,
    "hinge": Hinge,
    "quantile": Pinball,
    "gaussian": Gaussian,
    "poisson": Poisson,
    "gamma": Gamma,
    "tweedie": Tweedie,
}
