"""An optimizer bound to a layout: which formula runs over which piece of θ, and the scalars that it needs each step."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from fcnet.backends.ops import Apply, Array, Norm, Ref, Tape, ref
from fcnet.backends.ops import Update as UpdateOp
from fcnet.errors import ConfigError
from fcnet.formulas import Expr, Formula, Sym, minimum
from fcnet.formulas.transform import evaluate, hoist
from fcnet.nn.layout import ALIGN, Layout, Segment, Slot
from fcnet.optim.rules import Optimizer, of_matrices

SCALARS = ("lr", "decay", "t")
ALONE = 2**14
"""From so many elements on a slot is updated by itself."""


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
    """θ' and the optimizer's state from ∇L, recorded piece by piece: each rule on the parameters that it moves.

    `clip_norm`: ∇L is first multiplied by min(1, clip_norm / (‖∇L‖ + 1e-6)), as PyTorch does. `average`: the share of
    θ̄ that is kept in each step, θ̄' = average · θ̄ + (1 − average) · θ'; a vector of that name, which starts at θ.
    Raises ConfigError where a rule moves what it cannot move.
    """

    def __init__(
        self, rule: Optimizer, layout: Layout, clip_norm: float | None = None, average: float | None = None
    ) -> None:
        self.rule, self.layout, self.clip_norm, self.average = rule, layout, clip_norm, average
        self.rules = {slot.name: self._rule_of(slot) for slot in layout.slots}
        used = [rule, *(other for other in rule.groups if other in self.rules.values())]
        own = dict.fromkeys(name for each in used for name in each.vectors())
        self.names = (*own, *(() if average is None else ("average",)))
        self.matrices = [slot for slot in layout.slots if of_matrices(self.rules[slot.name])]
        self.pieces: list[_Piece] = []
        self.n_scalars = 0
        for segment, of in self._segments():
            hoisted, formula = hoist(self._formula(segment, of), SCALARS)
            lr, decay = of.lr * segment.lr, of.weight_decay * segment.decay
            self.pieces.append(_Piece(segment, formula, hoisted, self.n_scalars, lr, decay))
            self.n_scalars += len(hoisted)

    def _rule_of(self, slot: Slot) -> Optimizer:
        """The first of the groups that matches, or the main rule."""
        found = next((each for each in self.rule.groups if fnmatchcase(slot.name, each.match)), self.rule)
        if of_matrices(found) and slot.kind != "weight":
            name = getattr(found, "name", "it")
            raise ConfigError(
                f"{name} moves weight matrices alone, and {slot.name} is none; choose another rule for the rest, as in "
                f'optimizer: {{name: adamw, groups: [{{match: "W*", name: {name}}}]}}',
                key="optimizer",
            )
        return found

    def _segments(self) -> list[tuple[Segment, Optimizer]]:
        """The fewest runs of θ with one rule and equal factors; a matrix that is moved as a whole is one by itself."""
        runs: list[tuple[Segment, Optimizer]] = []
        for slot, (start, stop) in self.layout.spans().items():
            of, like = self.rules[slot.name], (slot.lr, slot.decay_factor)
            if runs and runs[-1][1] is of and not of_matrices(of) and (runs[-1][0].lr, runs[-1][0].decay) == like:
                runs[-1] = replace(runs[-1][0], stop=stop), of
            else:
                runs.append((Segment(start, stop, *like), of))
        return runs

    def _formula(self, segment: Segment, of: Optimizer) -> Formula:
        # Of matrices ∇L is clipped beforehand, for all.
        g = Sym("g") * Sym("clip") if self.clip_norm is not None and not self.matrices else Sym("g")
        decays = of.weight_decay * segment.decay != 0
        state = {name: Sym(name) for name in of.vectors()}
        g = Sym("d") if of_matrices(of) else g
        results = of.update(g, Sym("θ"), state, Sym("lr"), Sym("decay") if decays else None, Sym("t"))
        if self.average is not None:
            results["average"] = self.average * Sym("average") + (1.0 - self.average) * results["θ"]
        return Formula(results)

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

    def record(self, k: Tape, dtype: Any) -> None:
        """Record the update of θ by g; `s` (n_scalars,) holds the step's scalars, `optimizer/…` the rule's state."""
        θ, g = (ref(name, self.layout.size, dtype) for name in ("θ", "g"))
        vectors = {name: ref(f"optimizer/{name}", self.layout.size, dtype) for name in self.names}
        s = ref("s", self.n_scalars, dtype)
        clip: dict[str, Ref] = {}
        if self.clip_norm is not None:
            norm, clip["clip"] = ref("norm", (), dtype), ref("clip", (), dtype)
            k.add(Norm(g, norm))
            k.add(Apply(Formula({"clip": minimum(self.clip_norm / (Sym("norm") + 1e-6), 1.0)}), {"norm": norm}, clip))
        direction = ref("d", self.layout.size, dtype)
        if self.matrices and clip:
            k.add(Apply(Formula({"g": Sym("g") * Sym("clip")}), {"g": g, **clip}, {"g": g}))
        gradients, directions = self.layout.views(g), self.layout.views(direction)
        for slot in self.matrices:
            of = self.rules[slot.name]
            assert of_matrices(of)
            state = {name: self.layout.views(vectors[name])[slot.name] for name in of.vectors()}
            of.direction(k, gradients[slot.name], state, directions[slot.name])
        every = {"θ": θ, "g": g, "d": direction, **vectors}
        for piece in self.pieces:
            needed = {*piece.formula.symbols(), *piece.formula.results}
            scalars = {name: s[piece.offset + i :][:1].reshape(()) for i, name in enumerate(piece.hoisted)}
            scalars |= {name: held for name, held in clip.items() if name in needed}
            for start, stop in itertools.pairwise(self._edges(piece.segment)):
                used = {name: vector[start:stop] for name, vector in every.items() if name in needed}
                k.add(UpdateOp(piece.formula, scalars, used))

    def _edges(self, segment: Segment) -> list[int]:
        """Where the segment is taken apart: large slots stand alone, since a thread that has the first rows of one in
        the backward pass has them in its cache."""
        edges = {segment.start, segment.stop}
        for slot in self.layout.slots:
            start = self.layout.starts[slot.name]
            if np.prod(slot.shape) >= ALONE and segment.start <= start < segment.stop:
                edges |= {start, min(segment.stop, -(-(start + int(np.prod(slot.shape))) // ALIGN) * ALIGN)}
        return sorted(edges)
