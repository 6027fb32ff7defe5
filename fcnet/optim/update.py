"""An optimizer bound to a layout: which formula runs over which piece of θ, and the scalars that it needs each step."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from fcnet.backends.ops import Apply, Array, Norm, Ref, Tape, Update, ref
from fcnet.errors import ConfigError
from fcnet.formulas import Expr, Formula, Sym, minimum
from fcnet.formulas.transform import evaluate, hoist
from fcnet.nn.layout import ALIGN, Layout, Segment, Slot
from fcnet.optim.rules import Optimizer, of_matrices
from fcnet.optim.solvers import of_objective
from fcnet.records import dataclass

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
    rates: tuple[tuple[float, float], ...]
    """(lr, decay) of each member."""


class Updater:
    """θ' and the optimizer's state from ∇L, recorded piece by piece: each rule on the parameters that it moves.

    `clip_norm`: ∇L is first multiplied by min(1, clip_norm / (‖∇L‖ + 1e-6)), as PyTorch does. `average`: the share of
    θ̄ that is kept in each step, θ̄' = average · θ̄ + (1 − average) · θ'; a vector of that name, which starts at θ.
    `own`: the rule of each member of a pack, which differ in lr and weight_decay alone. Raises ConfigError where a rule
    moves what it cannot move, or a group matches nothing. A solver has vectors here, and makes its steps elsewhere.
    """

    def __init__(
        self,
        rule: Optimizer,
        layout: Layout,
        clip_norm: float | None = None,
        average: float | None = None,
        own: Sequence[Optimizer] = (),
    ) -> None:
        self.rule, self.layout, self.clip_norm, self.average = rule, layout, clip_norm, average
        self.own = tuple(own) or (rule,) * max(sum(layout.members), 1)
        assert all(_rated(each, rule) == rule for each in self.own), "rules differ in more than lr and weight_decay"
        self.rules = {slot.name: self._rule_of(slot) for slot in layout.slots}
        names = dict.fromkeys(slot.name for each in (layout, *layout.parts) for slot in each.slots)
        for i, group in enumerate(rule.groups if layout.among is None else ()):
            if not any(fnmatchcase(name, group.match) for name in names):
                raise ConfigError(
                    f'"{group.match}" is the name of no parameter of this net, which are {", ".join(names)}',
                    key=f"optimizer.groups.{i}.match",
                )
        used = [rule, *(other for other in rule.groups if other in self.rules.values())]
        vectors = dict.fromkeys(name for each in used for name in each.vectors())
        if average is not None and "average" in vectors:
            averaged = next(getattr(each, "name", "") for each in used if "average" in each.vectors())
            raise ConfigError(f"{averaged} averages the parameters itself; leave it out", key="average")
        self.names = (*vectors, *(() if average is None else ("average",)))
        self.matrices = [slot for slot in layout.slots if of_matrices(self.rules[slot.name])]
        self.pieces: list[_Piece] = []
        self.n_scalars = 0
        for segment, of in [] if of_objective(rule) else self._segments():
            each = [_its(of, rule, member) for member in self.own]
            rates = tuple((its.lr * segment.lr, its.weight_decay * segment.decay) for its in each)
            hoisted, formula = hoist(self._formula(of, decays=any(decay != 0 for _, decay in rates)), SCALARS)
            self.pieces.append(_Piece(segment, formula, hoisted, self.n_scalars, rates))
            self.n_scalars += len(hoisted)
        self.packs: list[Updater] = []  # of each part of the layout
        for part in layout.parts:
            assert part.among is not None
            some = self.own[part.among.first : part.among.first + sum(part.members)]
            self.packs.append(Updater(rule, part, clip_norm, average, some))
        self.n_scalars = self.wide = max((pack.n_scalars for pack in self.packs), default=self.n_scalars)
        for pack in self.packs:
            pack.wide = self.wide

    def only(self, which: Sequence[int], layout: Layout) -> Updater:
        """That of these members of a pack, whose layout that is."""
        return Updater(self.rule, layout, self.clip_norm, self.average, [self.own[i] for i in which])

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

    def _formula(self, of: Optimizer, decays: bool) -> Formula:
        # Of matrices ∇L is clipped beforehand, for all.
        g = Sym("g") * Sym("clip") if self.clip_norm is not None and not self.matrices else Sym("g")
        state = {name: Sym(name) for name in of.vectors()}
        g = Sym("d") if of_matrices(of) else g
        results = of.update(g, Sym("θ"), state, Sym("lr"), Sym("decay") if decays else None, Sym("t"))
        if self.average is not None:
            results["average"] = self.average * Sym("average") + (1.0 - self.average) * results["θ"]
        elif "average" in self.names:  # another rule's, which has some of θ alone
            results.setdefault("average", results["θ"])
        return Formula(results)

    def used(self) -> list[tuple[Optimizer, list[str]]]:
        """The rules that move anything, and the names of the slots that each moves."""
        candidates = [self.rule, *self.rule.groups]
        found = [(rule, [name for name, its in self.rules.items() if its is rule]) for rule in candidates]
        return [(rule, names) for rule, names in found if names]

    def decays(self) -> Array:
        """The weight decay of each element of θ, (size,)."""
        found = np.zeros(self.layout.size)
        for slot, (start, stop) in self.layout.spans().items():
            found[start:stop] = self.rules[slot.name].weight_decay * slot.decay_factor
        return found

    def scalars(self, t: Array, lr_factor: Array, decay_factor: Array | None = None) -> Array:
        """What the formulas need at steps t (K,), counted from 1: (K, M n_scalars) float64, member by member."""
        if self.packs:
            whole, first = np.zeros((len(t), len(self.own), self.wide)), 0
            for pack in self.packs:
                own, first = whole[:, first : first + len(pack.own), : pack.n_scalars], first + len(pack.own)
                own[...] = pack.scalars(t, lr_factor, decay_factor).reshape(own.shape)
            return whole.reshape(len(t), -1)
        table = np.empty((len(t), len(self.own) * self.n_scalars))
        ones = np.ones(len(t))
        done: dict[tuple[Expr, float, float], Array] = {}  # pieces that differ in nothing have the same scalars
        for piece in self.pieces:
            for member, (lr, decay) in enumerate(piece.rates):
                values = {
                    "t": t.astype(np.float64),
                    "lr": lr * lr_factor,
                    "decay": decay * (ones if decay_factor is None else decay_factor),
                }
                for i, expression in enumerate(piece.hoisted.values()):
                    key = expression, lr, decay
                    if key not in done:
                        done[key] = evaluate(expression, values)
                    table[:, member * self.n_scalars + piece.offset + i] = done[key]
        return table

    def record(self, k: Tape, dtype: Any) -> None:
        """Record the update of θ by g; `s` (…, n_scalars) holds the step's scalars, `optimizer/…` the rule's state."""
        for each in self.packs:
            each.record(k, dtype)
        if self.packs:
            return
        members = self.layout.members
        number = (*members, 1) if members else ()  # the shape of one for each member, beside vectors
        θ, g, direction = (self.layout.ref(name, dtype) for name in ("θ", "g", "d"))
        vectors = {name: self.layout.ref(f"optimizer/{name}", dtype) for name in self.names}
        s = self.layout.each("s", self.n_scalars, dtype, self.wide)
        clip: dict[str, Ref] = {}
        if self.clip_norm is not None:
            all_members = (self.layout.among.total,) if self.layout.among else members
            norm, share = (self.layout.some(ref(name, (), dtype, all_members)) for name in ("norm", "clip"))
            k.add(Norm(g, norm))
            formula = Formula({"clip": minimum(self.clip_norm / (Sym("norm") + 1e-6), 1.0)})
            k.add(Apply(formula, {"norm": norm}, {"clip": share}))
            clip["clip"] = share.reshape(number)
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
            at = range(piece.offset, piece.offset + len(piece.hoisted))
            scalars = {name: s[..., i : i + 1].reshape(number) for i, name in zip(at, piece.hoisted, strict=True)}
            scalars |= {name: held for name, held in clip.items() if name in needed}
            for start, stop in itertools.pairwise(self._edges(piece.segment)):
                used = {name: vector[..., start:stop] for name, vector in every.items() if name in needed}
                k.add(Update(piece.formula, scalars, used))

    def _edges(self, segment: Segment) -> list[int]:
        """Where the segment is taken apart: large slots stand alone, since a thread that has the first rows of one in
        the backward pass has them in its cache."""
        edges = {segment.start, segment.stop}
        for slot in self.layout.slots:
            start = self.layout.starts[slot.name]
            if np.prod(slot.shape) >= ALONE and segment.start <= start < segment.stop:
                edges |= {start, min(segment.stop, -(-(start + int(np.prod(slot.shape))) // ALIGN) * ALIGN)}
        return sorted(edges)


def _its(of: Optimizer, rule: Optimizer, own: Optimizer) -> Optimizer:
    """What a member's own rule has in place of `rule`, or of one of its groups."""
    return own if of is rule else own.groups[next(i for i, group in enumerate(rule.groups) if group is of)]


def _rated(rule: Any, like: Any) -> Any:
    """The rule with the rates of another, and so its groups."""
    if rule is like or type(rule) is not type(like) or len(rule.groups) != len(like.groups):
        return rule
    groups = [_rated(own, other) for own, other in zip(rule.groups, like.groups, strict=True)]
    return replace(rule, lr=like.lr, weight_decay=like.weight_decay, groups=groups)
