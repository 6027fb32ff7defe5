"""One training step taken apart: every array of the derivation, each equation checked by itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import numpy as np

from fcnet import random
from fcnet.backends.base import Eager
from fcnet.backends.ops import Array, Ref
from fcnet.formulas import Sym
from fcnet.formulas.transform import evaluate
from fcnet.nn.layers import Equation, Layer, Names
from fcnet.optim.rules import of_matrices
from fcnet.optim.schedules import factors
from fcnet.optim.solvers import Solver, of_objective
from fcnet.records import dataclass
from fcnet.training.gradcheck import Check, Trial, compare

MOST = 64
"""Equations of a layer, whose directions have numbers of their own."""


@dataclass(frozen=True)
class Passage:
    """What went through one layer, forward and backward; its names have i of the derivation, 0 before the first matrix.

    `seen`: its inputs z (B, n_in), outputs z_out, gradients δ at the outputs and δ_in at the inputs where somebody asks
    for it, its parameters p.NAME, their gradients g.NAME, and the buffers of its own. `checks` by the place of their
    equation, where they were made.
    """

    names: Names
    layer: Layer
    seen: Mapping[str, Array]
    equations: tuple[Equation, ...]
    checks: Mapping[int, Check]


@dataclass(frozen=True)
class Ending:
    """The loss: prediction p = link(z_N), targets y, weights w or None, ℓ of every row (B, 1), their weighted mean L,
    and δ = ∂L/∂z_N, which the backward pass begins with."""

    z: Array
    p: Array
    y: Array
    w: Array | None
    ℓ: Array
    L: float
    δ: Array
    checks: Mapping[str, Check]


@dataclass(frozen=True)
class TracedUpdate:
    """The update: θ and ∇L before, Δθ = θ' − θ, L before and after, and how far ⟨∇L, Δθ⟩ foretold the difference.

    `length`: α of a solver's step.
    """

    θ: Array
    g: Array
    change: Array
    before: float
    after: float
    foretold: float
    check: Check
    length: float | None = None


@dataclass(frozen=True)
class Trace:
    """A step from its batch to the new θ. Layers in the order of the forward pass."""

    passages: tuple[Passage, ...]
    ending: Ending
    step: TracedUpdate

    @property
    def checks(self) -> tuple[Check, ...]:
        """Every check that was made, in the order of the step."""

        def of(passages: Iterable[Passage], phase: str) -> list[Check]:
            return [c for p in passages for i, c in p.checks.items() if p.equations[i].phase == phase]

        forward, backward = of(self.passages, "forward"), of(reversed(self.passages), "backward")
        return (*forward, *self.ending.checks.values(), *backward, self.step.check)


def trace(trial: Trial, checked: int) -> Trace:
    """Make one step at the trial's θ, which stays as it is. The first and last `checked` layers are checked."""
    network, g = trial.network, np.zeros_like(trial.θ)
    k, spaces = Eager(trial.backend, {**trial.arrays, "g": g}), trial.spaces()
    key = random.key(trial.prepared.settings.seed, "directions")
    ending = _ending(trial, k, network.forward(k, spaces, trial.batch), key)
    p, grads = network.views(trial.θ, network.layout), network.views(g, network.layout)
    seen = [{f"p.{name}": view for name, view in own.items()} for own in p]
    done: int | None = None

    def keep() -> None:
        """What the layer that was done last has left in its buffers, before another overwrites them."""
        if done is not None:
            seen[done] |= {name: k.fetch(at).copy() for name, at in spaces[done].kept.items()}
            seen[done] |= {f"g.{name}": view for name, view in grads[done].items()}

    for i, δ in network.back(k, spaces, trial.losses().ε):
        keep()
        seen[i]["δ"] = k.fetch(δ).copy()
        if done is not None:
            seen[done]["δ_in"] = seen[i]["δ"]
        done = i
    keep()
    for i in range(network.first):
        seen[i] |= {name: k.fetch(at).copy() for name, at in spaces[i].kept.items()}
    passages = []
    for i, layer in enumerate(network.layers):
        names = Names(network.numbers[i], network.numbers[i] + 1)
        equations = tuple(e for e in layer.equations(names) if next(iter(e.shows)) in seen[i])
        passages.append(Passage(names, layer, seen[i], equations, {}))
    for i, passage in enumerate(passages):
        if i < checked or i >= len(passages) - checked:
            passages[i] = replace(passage, checks=_checks(trial, i, passage, key))
    return Trace(tuple(passages), ending, _step(trial, g))


def _same(name: str, found: Array, expected: Array) -> Check:
    """How far an array is from the same computed otherwise, relative to its length."""
    norm, apart = float(np.linalg.norm(expected)), float(np.linalg.norm(found - expected))
    return Check(name, float(np.linalg.norm(found)), norm, apart / norm if norm else apart)


def _checks(trial: Trial, i: int, passage: Passage, key: Array) -> dict[int, Check]:
    """Each equation against what it is by other means: its definition, or finite differences."""
    seen, checks = passage.seen, {}
    for j, e in enumerate(passage.equations):
        first, (symbol, _) = next(iter(e.shows.items()))
        name, found, number = re.sub("[_{}]", "", symbol), seen[first], MOST * i + j
        if e.expected is not None:
            checks[j] = _same(name, found, e.expected(seen))
        elif e.slope is not None:
            checks[j] = _slope(name, seen, found, e.slope, key, number)
        elif first.startswith("g."):
            checks[j] = compare(name, seen[f"p.{first.removeprefix('g.')}"], found, trial.value(), key, number)
        elif first == "δ_in":
            z = seen["z"].copy()
            checks[j] = compare(name, z, found, trial.value(i, z), key, number)
    return checks


def _slope(
    name: str, seen: Mapping[str, Array], g: Array, slope: tuple[str, Callable[..., Array]], key: Array, number: int
) -> Check:
    """g against the finite difference of ⟨δ, f(x)⟩ along x."""
    of, f = slope
    x = seen[of].copy()

    def value() -> Array:
        terms: Array = (seen["δ"] * f({**seen, of: x})).ravel()
        return terms

    return compare(name, x, g, value, key, number)


def _ending(trial: Trial, k: Eager, at: Ref, key: Array) -> Ending:
    out, loss = trial.loss_of(k, at), trial.loss
    members, arrays = trial.network.fan, trial.arrays
    y, w = np.tile(arrays["y"], (members, 1)), np.tile(arrays["w"] / members, (members, 1)) if "w" in arrays else None
    w = np.full((len(y), 1), 1 / members) if w is None and members > 1 else w
    z, ℓ, δ = (k.fetch(each).copy() for each in (at, out.ℓ, out.ε))
    n = len(trial.network.layers)
    parts = dict(zip(loss.parts, np.split(z, len(loss.parts), axis=-1), strict=True))
    expected = evaluate(loss.terms(loss.symbols, Sym("y"))[0], {**parts, "y": y}) * (1.0 if w is None else w)
    moved = z.copy()
    checks = {
        "L": _same("L", ℓ, expected),
        "δ": compare(f"Δ{trial.network.numbers[-1]}", moved, δ, trial.value(n, moved), key, 4 * n),
    }
    p = np.concatenate([evaluate(each, parts) for each in loss.link(loss.symbols)], axis=-1)
    return Ending(z, p, y, w, ℓ, float(ℓ.sum()) / trial.n, δ, checks)


def _step(trial: Trial, g: Array) -> TracedUpdate:
    update, training = trial.prepared.update, trial.prepared.settings.training
    if of_objective(update.rule):
        return _iteration(trial, update.rule)
    per_epoch = -(-len(trial.prepared.data.parts["train"]) // trial.prepared.batch_size)
    at = np.array([0])
    factor = factors(trial.prepared.settings.schedule, at, per_epoch * training.epochs, training.epochs)
    θ = trial.θ.copy()
    vectors = {f"optimizer/{name}": np.zeros_like(g) for name in update.names}
    k = Eager(trial.backend, {"θ": θ, "g": g.copy(), "s": update.scalars(at + 1, factor)[0], **vectors})
    update.record(k, np.float64)
    change, value = θ - trial.θ, trial.value()
    before, kept = float(value().sum()), trial.θ.copy()
    trial.θ[...] = θ
    after = float(value().sum())
    trial.θ[...] = kept
    expected = _updated(trial, g, float(factor[0]))
    return TracedUpdate(kept, g, change, before, after, float(g @ change), _same("θ'", change, expected - kept))


def _iteration(trial: Trial, solver: Solver) -> TracedUpdate:
    """The first iteration of a solver, for the objective of the trial's batch: it goes straight down, −α ∇L."""
    kept, decay, value = trial.θ.copy(), trial.prepared.update.decays(), trial.value()

    def objective(θ: Array) -> tuple[float, Array]:
        trial.θ[...] = θ
        return float(value().sum() + 0.5 * (decay * θ) @ θ), trial.gradient() + decay * θ

    before, g = objective(kept)
    vectors = {name: np.zeros_like(kept) for name in trial.prepared.update.names}
    done = solver.iterate(objective, kept, vectors, 0)
    trial.θ[...] = kept
    change = done.θ - kept
    α = float(np.linalg.norm(change) / max(float(np.linalg.norm(g)), 1e-300))
    return TracedUpdate(kept, g, change, before, done.loss, float(g @ change), _same("θ'", change, -α * g), α)


def _updated(trial: Trial, g: Array, factor: float) -> Array:
    """θ' by the rule's own expression, evaluated plainly tensor by tensor."""
    update, layout, clip = trial.prepared.update, trial.network.layout, trial.prepared.settings.training.clip_norm
    θ = trial.θ.copy()
    shrink = 1.0 if clip is None else min(1.0, clip / (float(np.linalg.norm(g)) + 1e-6))
    for slot in layout.slots:
        rule = update.rules[slot.name]
        decay = rule.weight_decay * slot.decay_factor
        symbols = {name: Sym(name) for name in rule.vectors()}
        updated = rule.update(Sym("g"), Sym("θ"), symbols, Sym("lr"), Sym("decay") if decay else None, Sym("t"))
        view = layout.views(θ)[slot.name]
        gradient = shrink * layout.views(g)[slot.name]
        if of_matrices(rule):
            gradient = rule.plain(gradient, {name: np.zeros(slot.shape) for name in symbols})
        values = {"g": gradient, "θ": view, "t": 1.0, "decay": decay * 1.0}
        values |= {name: np.zeros(slot.shape) for name in symbols} | {"lr": rule.lr * slot.lr * factor}
        view[...] = evaluate(updated["θ"], values)
    return θ
