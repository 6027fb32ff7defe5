"""Losses on a_N: value and gradient come out of one function, so that they cannot disagree.

The loss of a batch is L = (1/B) Σ w ℓ. Each class gives ℓ and ∂ℓ/∂a as expressions of the output layer's
pre-activations a and the targets y; it owns its link, the function that makes a prediction of a.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, Protocol

from fcnet.backends.ops import Accumulate, Apply, Ref, Tape
from fcnet.formulas import (
    Expr,
    Formula,
    Sym,
    absolute,
    exp,
    log,
    log1p,
    maximum,
    minimum,
    row_max,
    row_mean,
    row_sum,
    where,
    width,
)
from fcnet.nn.activations import Activation, Identity, Sigmoid, Softmax, logistic
from fcnet.registry import Ge, Gt, Lt

Task = Literal["binary", "multiclass", "multilabel", "regression"]


class Loss(Protocol):
    """ℓ of one row, its gradient, and the link."""

    tasks: ClassVar[tuple[Task, ...]]
    """What it can learn."""
    link: ClassVar[Activation]
    """prediction = link(a). With the identity the loss is one on values, and the net may have an output activation."""
    one_hot: ClassVar[bool]
    """Whether a binary or multiclass target is one column a class; otherwise one column of 0 and 1."""

    def terms(self, a: Expr, y: Expr) -> tuple[Expr, Expr]:
        """(ℓ (…, B, 1), ∂ℓ/∂a (…, B, n)) for pre-activations a and targets y, both (…, B, n)."""


def forward_backward(k: Tape, loss: Loss, a: Ref, y: Ref, w: Ref | None, scale: Ref, out: LossArrays) -> None:
    """Record ε = scale · w · ∂ℓ/∂a into `out.ε` and add Σ w ℓ to `out.total`, in one formula.

    a, y (…, B, n); w (B, 1) or None for ones; scale 0-d, 1 / rows of the global batch.
    """
    ℓ, dℓ = loss.terms(Sym("a"), Sym("y"))
    weight = Sym("w") if w is not None else 1.0
    formula = Formula({"ℓ": weight * ℓ, "ε": (Sym("scale") * weight) * dℓ})
    arrays = {"a": a, "y": y, "scale": scale} | ({} if w is None else {"w": w})
    k.add(Apply(formula, arrays, {"ℓ": out.ℓ, "ε": out.ε}))
    k.add(Accumulate(out.ℓ, out.total))


def value(k: Tape, loss: Loss, a: Ref, y: Ref, ℓ: Ref) -> None:
    """Record ℓ (…, B, 1) of every row, without weights or gradient."""
    k.add(Apply(Formula({"ℓ": loss.terms(Sym("a"), Sym("y"))[0]}), {"a": a, "y": y}, {"ℓ": ℓ}))


@dataclass(frozen=True)
class LossArrays:
    """Where a loss writes: ε (…, B, n), ℓ (…, B, 1), and the float64 0-d sum that it adds to."""

    ε: Ref
    ℓ: Ref
    total: Ref


@dataclass(frozen=True)
class SquaredError:
    """ℓ = mean over outputs of (a − y)²; PyTorch's MSELoss. Not halved."""

    name: Literal["squared_error"] = "squared_error"
    tasks: ClassVar[tuple[Task, ...]] = ("regression",)
    link: ClassVar[Activation] = Identity()
    one_hot: ClassVar[bool] = False

    def terms(self, a: Expr, y: Expr) -> tuple[Expr, Expr]:
        """∂ℓ/∂a = 2 (a − y) / n."""
        d = a - y
        return row_mean(d * d), _per_output(2.0 * d, a)


@dataclass(frozen=True)
class AbsoluteError:
    """ℓ = mean over outputs of |a − y|; PyTorch's L1Loss."""

    name: Literal["absolute_error"] = "absolute_error"
    tasks: ClassVar[tuple[Task, ...]] = ("regression",)
    link: ClassVar[Activation] = Identity()
    one_hot: ClassVar[bool] = False

    def terms(self, a: Expr, y: Expr) -> tuple[Expr, Expr]:
        """∂ℓ/∂a = sign(a − y) / n, 0 where they are equal."""
        d = a - y
        sign = where(d > 0.0, 1.0, 0.0) - where(d < 0.0, 1.0, 0.0)
        return row_mean(absolute(d)), _per_output(sign, a)


@dataclass(frozen=True)
class Huber:
    """ℓ = mean over outputs of ½ d² for |d| ≤ delta, else delta (|d| − ½ delta), d = a − y; PyTorch's HuberLoss."""

    name: Literal["huber"] = "huber"
    delta: Annotated[float, Gt(0)] = 1.0
    """Where the parabola becomes a line, in units of the (standardised) target."""
    tasks: ClassVar[tuple[Task, ...]] = ("regression",)
    link: ClassVar[Activation] = Identity()
    one_hot: ClassVar[bool] = False

    def terms(self, a: Expr, y: Expr) -> tuple[Expr, Expr]:
        """With c = d clipped to ±delta: ℓ = c (d − ½ c), ∂ℓ/∂a = c / n."""
        d = a - y
        c = minimum(maximum(d, -self.delta), self.delta)
        return row_mean(c * (d - 0.5 * c)), _per_output(c, a)


@dataclass(frozen=True)
class CrossEntropy:
    """ℓ = −Σ y ln p, p = softmax(a), with y one-hot; PyTorch's CrossEntropyLoss without class weights.

    With `label_smoothing` s the targets are (1 − s) y + s / n (Szegedy et al. 2015). With class weights PyTorch divides
    by the sum of the batch's weights, where we divide by its rows, with weights of mean 1 over the training rows.
    """

    name: Literal["cross_entropy"] = "cross_entropy"
    label_smoothing: Annotated[float, Ge(0), Lt(1)] = 0.0
    """How much of each target is spread evenly over all classes."""
    tasks: ClassVar[tuple[Task, ...]] = ("binary", "multiclass")
    link: ClassVar[Activation] = Softmax()
    one_hot: ClassVar[bool] = True

    def terms(self, a: Expr, y: Expr) -> tuple[Expr, Expr]:
        """∂ℓ/∂a = p − y: softmax's Jacobian and the logarithm's derivative collapse. ln p = a − max a − ln Σ e."""
        shifted = a - row_max(a)
        e = exp(shifted)
        s = row_sum(e)
        if not self.label_smoothing:
            return log(s) - row_sum(y * shifted), e / s - y
        # −Σ y' ln p = ln s − Σ y' shifted, since Σ y' = 1
        mean = row_mean(shifted)
        picked = (1.0 - self.label_smoothing) * row_sum(y * shifted) + self.label_smoothing * mean
        return log(s) - picked, e / s - ((1.0 - self.label_smoothing) * y + _per_output(self.label_smoothing, a))


@dataclass(frozen=True)
class BinaryCrossEntropy:
    """ℓ = mean over outputs of −y ln p − (1 − y) ln(1 − p), p = σ(a); PyTorch's BCEWithLogitsLoss."""

    name: Literal["binary_cross_entropy"] = "binary_cross_entropy"
    tasks: ClassVar[tuple[Task, ...]] = ("binary", "multilabel")
    link: ClassVar[Activation] = Sigmoid()
    one_hot: ClassVar[bool] = False

    def terms(self, a: Expr, y: Expr) -> tuple[Expr, Expr]:
        """ℓ = mean of max(a, 0) − a y + ln(1 + exp(−|a|)); ∂ℓ/∂a = (p − y) / n."""
        ℓ = maximum(a, 0.0) - a * y + log1p(exp(-absolute(a)))
        return row_mean(ℓ), _per_output(logistic(a) - y, a)


def _per_output(x: Expr | float, a: Expr) -> Expr:
    """x / n, n the number of a row's outputs: ℓ is a mean over them."""
    return x * (1.0 / width(a))


def in_nats(loss: Loss) -> Loss | None:
    """The loss that says what a prediction by the same link costs in nats, −ln p(truth); None where p is none of its.

    It is the loss itself but for its own additions, such as smoothed labels.
    """
    plain: tuple[Loss, ...] = (CrossEntropy(), BinaryCrossEntropy())
    return next((p for p in plain if (p.link, p.one_hot) == (loss.link, loss.one_hot)), None)


LOSSES: dict[str, type[Loss]] = {
    "squared_error": SquaredError,
    "absolute_error": AbsoluteError,
    "huber": Huber,
    "cross_entropy": CrossEntropy,
    "binary_cross_entropy": BinaryCrossEntropy,
}
