"""An optimizer bound to a layout: which formula runs over which piece of θ, and the scalars that it needs each step."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from fcnet.backends.base import Array, Tape
from fcnet.formulas import Expr, Formula, Sym, minimum
from fcnet.formulas.transform import evaluate, hoist
from fcnet.nn.layout import ALIGN, Layout, Segment
from fcnet.optim.rules import Optimizer

SCALARS = ("lr", "decay", "t")
ALONE = 2**14
"""From so many elements on a slot is updated by itself."""


class MatrixRule(Protocol):
    """The direction of one weight matrix as a whole; the rest of θ keeps its elementwise rule."""

    @property
    def lr(self) -> float:
        """Its own learning rate, before schedule and factors."""

    @property
    def weight_decay(self) -> float:
        """Its own decay, decoupled: the matrix is first multiplied by 1 − lr · weight_decay."""

    def vectors(self) -> tuple[str, ...]:
        """The names of its state, flat vectors like θ."""

    def direction(self, k: Tape, g: Array, state: Mapping[str, Array], d: Array) -> None:
        """Record d (…, n_out, n_in) from the gradient g of the same shape: θ' = (1 − lr · decay) θ − lr · d."""


@dataclass(frozen=True)
class _Piece:
    """A run of θ, its formula, and where its hoisted scalars lie in the step's scalars."""

    segment: Segment
    formula: Formula
    hoisted: dict[str, Expr]
    offset: int
    lr: float
    decay: float


class Update:
    """θ' and the optimizer's state from ∇L, recorded over the segment table.

    `clip_norm`: ∇L is first multiplied by min(1, clip_norm / (‖∇L‖ + 1e-6)), as PyTorch does. `matrix`: a rule for the
    slots of kind weight.
    """

    def __init__(
        self, rule: Optimizer, layout: Layout, clip_norm: float | None = None, matrix: MatrixRule | None = None
    ) -> None:
        self.rule, self.layout, self.clip_norm, self.matrix = rule, layout, clip_norm, matrix
        self.names = rule.vectors() + (matrix.vectors() if matrix is not None else ())
        self.matrices = [slot for slot in layout.slots if slot.kind == "weight"] if matrix is not None else []
        self.pieces: list[_Piece] = []
        self.n_scalars = 0
        for segment in layout.segments():
            if not any(layout.starts[slot.name] == segment.start for slot in self.matrices):
                self._add(segment, self._formula(segment), rule)
        if matrix is not None:
            for slot in self.matrices:
                start = layout.starts[slot.name]
                segment = Segment(start, start + int(np.prod(slot.shape)), slot.lr, slot.decay_factor)
                shrunk = Sym("θ") * (1.0 - Sym("lr") * Sym("decay")) if matrix.weight_decay else Sym("θ")
                self._add(segment, Formula({"θ": shrunk - Sym("lr") * Sym("d")}), matrix)

    def _add(self, segment: Segment, formula: Formula, rule: Optimizer | MatrixRule) -> None:
        hoisted, formula = hoist(formula, SCALARS)
        lr, decay = rule.lr * segment.lr, rule.weight_decay * segment.decay
        self.pieces.append(_Piece(segment, formula, hoisted, self.n_scalars, lr, decay))
        self.n_scalars += len(hoisted)

    def _formula(self, segment: Segment) -> Formula:
        # With a matrix rule ∇L is clipped beforehand, for both.
        g = Sym("g") * Sym("clip") if self.clip_norm is not None and self.matrix is None else Sym("g")
        decays = self.rule.weight_decay * segment.decay != 0
        state = {name: Sym(name) for name in self.rule.vectors()}
        return Formula(self.rule.update(g, Sym("θ"), state, Sym("lr"), Sym("decay") if decays else None, Sym("t")))

    def scalars(self, t: Array, lr_factor: Array, decay_factor: Array | None = None) -> Array:
        """What the formulas need at steps t (K,), counted from 1: (K, n_scalars) float64."""
        table = np.empty((len(t), self.n_scalars))
        ones = np.ones(len(t))
        done: dict[tuple[Expr, float, float], Array] = {}  # pieces that differ in nothing have the same scalars
        for piece in self.pieces:
            values = {
                "t": t.astype(np.float64),
                "lr": piece.lr * lr_factor,
                "decay": piece.decay * (ones if decay_factor is None else decay_factor),
            }
            for i, expression in enumerate(piece.hoisted.values()):
                key = expression, piece.lr, piece.decay
                if key not in done:
                    done[key] = evaluate(expression, values)
                table[:, piece.offset + i] = done[key]
        return table

    def record(
        self,
        k: Tape,
        θ: Array,
        g: Array,
        vectors: Mapping[str, Array],
        s: Array,
        watch: list[Array] | None = None,
    ) -> None:
        """Record the update; s (n_scalars,) holds the step's scalars in θ's dtype when it runs.

        `watch` gets what the backend watches, which is θ and the elementwise rule's vectors.
        """
        clip: dict[str, Array] = {}
        if self.clip_norm is not None:
            norm, factor = _scalar(θ.dtype), _scalar(θ.dtype)
            k.norm(g, norm)
            k.apply(
                Formula({"clip": minimum(self.clip_norm / (Sym("norm") + 1e-6), 1.0)}), {"norm": norm}, {"clip": factor}
            )
            clip = {"clip": factor}
        direction = np.zeros_like(θ) if self.matrices else θ
        if self.matrix is not None:
            if clip:
                k.apply(Formula({"g": Sym("g") * Sym("clip")}), {"g": g, **clip}, {"g": g})
            views = {name: self.layout.views(vectors[name]) for name in self.matrix.vectors()}
            gradients, directions = self.layout.views(g), self.layout.views(direction)
            for slot in self.matrices:
                state = {name: view[slot.name] for name, view in views.items()}
                self.matrix.direction(k, gradients[slot.name], state, directions[slot.name])
        every = {"θ": θ, "g": g, "d": direction, **vectors}
        for piece in self.pieces:
            needed = {*piece.formula.symbols(), *piece.formula.results}
            used = {name: every[name] for name in every if name in needed}
            scalars = {name: s[piece.offset + i :][:1].reshape(()) for i, name in enumerate(piece.hoisted)}
            runs = itertools.pairwise(self._edges(piece.segment))
            k.update(piece.formula, used, [(start, stop, {**scalars, **clip}) for start, stop in runs], watch)

    def _edges(self, segment: Segment) -> list[int]:
        """Where the segment is taken apart: large slots stand alone, since a thread that has the first rows of one in
        the backward pass has them in its cache."""
        edges = {segment.start, segment.stop}
        for slot in self.layout.slots:
            start = self.layout.starts[slot.name]
            if np.prod(slot.shape) >= ALONE and segment.start <= start < segment.stop:
                edges |= {start, min(segment.stop, -(-(start + int(np.prod(slot.shape))) // ALIGN) * ALIGN)}
        return sorted(edges)


def _scalar(dtype: Any) -> Array:
    return np.zeros((), dtype)
