"""One training step taken apart: every array of the derivation, each equation checked by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from fcnet import random
from fcnet.backends.base import Array, Eager
from fcnet.formulas import Formula, Sym
from fcnet.formulas.transform import evaluate
from fcnet.nn.activations import Identity
from fcnet.nn.layers import Dense, Layer
from fcnet.nn.losses import forward_backward
from fcnet.optim.schedules import factors
from fcnet.training.gradcheck import Check, Trial, compare


@dataclass(frozen=True)
class Passage:
    """What went through one layer, forward and backward; `number` is i of the derivation, 0 before the first matrix.

    Inputs z (B, n_in), pre-activations a (B, n_out) or None, outputs z_out; gradients δ at the outputs, ε at the
    pre-activations or None, δ_in at the inputs or None where nobody asks for it; parameters p and their gradients g by
    name. `checks` by the name of what was checked, where it was.
    """

    number: int
    layer: Layer
    z: Array
    a: Array | None
    z_out: Array
    δ: Array
    ε: Array | None
    δ_in: Array | None
    p: Mapping[str, Array]
    g: Mapping[str, Array]
    checks: Mapping[str, Check]


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
class Step:
    """The update: θ and ∇L before, Δθ = θ' − θ, L before and after, and how far ⟨∇L, Δθ⟩ foretold the difference."""

    θ: Array
    g: Array
    change: Array
    before: float
    after: float
    foretold: float
    check: Check


@dataclass(frozen=True)
class Trace:
    """A step from its batch to the new θ. Layers in the order of the forward pass."""

    passages: tuple[Passage, ...]
    ending: Ending
    step: Step

    @property
    def checks(self) -> tuple[Check, ...]:
        """Every check that was made, in the order of the step."""
        forward = [c for passage in self.passages for name, c in passage.checks.items() if name in ("a", "z")]
        backward = [c for p in reversed(self.passages) for name, c in p.checks.items() if name not in ("a", "z")]
        return (*forward, *self.ending.checks.values(), *backward, self.step.check)


def trace(trial: Trial, checked: int) -> Trace:
    """Make one step at the trial's θ, which stays as it is. The first and last `checked` layers are checked."""
    network, batch, k = trial.network, trial.batch, Eager(trial.backend)
    key = random.key(trial.prepared.settings.seed, "directions")
    p, q = network.views(trial.θ, network.layout), network.views(trial.q, network.buffers)
    g = np.zeros_like(trial.θ)
    grads, spaces = network.views(g, network.layout), trial.spaces()
    inputs = [batch.x]
    for i, layer in enumerate(network.layers):
        inputs.append(layer.forward(k, p[i], q[i], spaces[i], inputs[-1], {}))
    ending = _ending(trial, inputs[-1], key)
    δ: Array = ending.δ.copy()
    backward: list[tuple[Array, Array, Array | None]] = []
    first = next(i for i, names in enumerate(network.names) if names)
    for i in range(len(network.layers) - 1, first - 1, -1):
        above = δ.copy()
        δ_in = network.layers[i].backward(k, p[i], q[i], grads[i], spaces[i], δ, {}, need_dz=i > first)
        backward.insert(0, (above, δ.copy(), None if δ_in is None else δ_in.copy()))
        if δ_in is not None:
            δ = δ_in
    passages = []
    for i, layer in enumerate(network.layers):
        z, z_out = inputs[i], inputs[i + 1]
        a = _affine(z, p[i]) if isinstance(layer, Dense) else None
        above, ε, below = backward[i - first] if i >= first else (np.zeros_like(z_out), None, None)
        passage = Passage(
            network.numbers[i], layer, z, a, z_out, above, ε if a is not None else None, below, p[i], grads[i], {}
        )
        if i < checked or i >= len(network.layers) - checked:
            passage = replace(passage, checks=_checks(trial, i, passage, key))
        passages.append(passage)
    return Trace(tuple(passages), ending, _step(trial, g))


def _affine(z: Array, p: Mapping[str, Array]) -> Array:
    """A = Z Wᵀ + b by its definition, aʲ = Σₖ Wʲᵏ zᵏ + bʲ, without BLAS."""
    a: Array = np.einsum("rk,jk->rj", z, p["W"], optimize=False) + p["b"]
    return a


def _same(name: str, found: Array, expected: Array) -> Check:
    """How far an array is from the same computed otherwise, relative to its length."""
    norm, apart = float(np.linalg.norm(expected)), float(np.linalg.norm(found - expected))
    return Check(name, float(np.linalg.norm(found)), norm, apart / norm if norm else apart)


def _checks(trial: Trial, i: int, seen: Passage, key: Array) -> dict[str, Check]:
    layer, n = seen.layer, f"{max(seen.number, 1)}"
    checks: dict[str, Check] = {}
    if isinstance(layer, Dense):
        assert seen.a is not None
        assert seen.ε is not None
        linear = replace(layer, activation=Identity())
        own = linear.forward(Eager(trial.backend), seen.p, {}, trial.spaces()[i], seen.z, {})
        checks["a"] = _same(f"A{n}", own, seen.a)
        checks["z"] = _same(f"Z{seen.number + 1}", seen.z_out, evaluate(layer.activation.f(Sym("a")), {"a": seen.a}))
        checks["ε"] = _check_vjp(trial, layer, seen, key, i)
        value = trial.value()
        checks["b"] = compare(f"db{n}", seen.p["b"], seen.g["b"], value, key, 4 * i + 1)
        checks["W"] = compare(f"dW{n}", seen.p["W"], seen.g["W"], value, key, 4 * i + 2)
    if seen.δ_in is not None:
        z = seen.z.copy()
        below = seen.number - isinstance(layer, Dense)
        checks["δ_in"] = compare(f"Δ{below}", z, seen.δ_in, trial.value(i, z), key, 4 * i + 3)
    return checks


def _check_vjp(trial: Trial, layer: Dense, seen: Passage, key: Array, i: int) -> Check:
    """ε against the finite difference of ⟨δ, f(a)⟩."""
    assert seen.a is not None
    assert seen.ε is not None
    a, z, k = seen.a.copy(), np.empty_like(seen.a), Eager(trial.backend)
    formula = Formula({"z": layer.activation.f(Sym("a"))})

    def value() -> Array:
        k.apply(formula, {"a": a}, {"z": z})
        terms: Array = (seen.δ * z).ravel()
        return terms

    return compare(f"E{seen.number}", a, seen.ε, value, key, 4 * i)


def _ending(trial: Trial, z: Array, key: Array) -> Ending:
    batch, out, loss = trial.batch, trial.losses(), trial.loss
    forward_backward(Eager(trial.backend), loss, z, batch.y, batch.w, trial.scale, out)
    n = len(trial.network.layers)
    values = {"a": z, "y": batch.y}
    expected = evaluate(loss.terms(Sym("a"), Sym("y"))[0], values) * (1.0 if batch.w is None else batch.w)
    moved = z.copy()
    checks = {
        "L": _same("L", out.ℓ, expected),
        "δ": compare(f"Δ{trial.network.numbers[-1]}", moved, out.ε, trial.value(n, moved), key, 4 * n),
    }
    p = np.asarray(evaluate(loss.link.f(Sym("a")), {"a": z}))
    return Ending(z, p, batch.y, batch.w, out.ℓ, float(out.ℓ.sum()) / trial.n, out.ε, checks)


def _step(trial: Trial, g: Array) -> Step:
    update, training = trial.prepared.update, trial.prepared.settings.training
    assert training.batch_size != "auto"
    per_epoch = -(-len(trial.prepared.data.parts["train"]) // training.batch_size)
    at = np.array([0])
    factor = factors(trial.prepared.settings.schedule, at, per_epoch * training.epochs, training.epochs)
    θ, vectors = trial.θ.copy(), {name: np.zeros_like(g) for name in update.names}
    update.record(Eager(trial.backend), θ, g, vectors, update.scalars(at + 1, factor)[0])
    change, value = θ - trial.θ, trial.value()
    before, kept = float(value().sum()), trial.θ.copy()
    trial.θ[...] = θ
    after = float(value().sum())
    trial.θ[...] = kept
    expected = _updated(trial, g, float(factor[0]))
    return Step(kept, g, change, before, after, float(g @ change), _same("θ'", change, expected - kept))


def _updated(trial: Trial, g: Array, factor: float) -> Array:
    """θ' by the rule's own expression, evaluated plainly tensor by tensor."""
    update, layout, clip = trial.prepared.update, trial.network.layout, trial.prepared.settings.training.clip_norm
    rule, θ = update.rule, trial.θ.copy()
    shrink = 1.0 if clip is None else min(1.0, clip / (float(np.linalg.norm(g)) + 1e-6))
    for slot in layout.slots:
        decay = rule.weight_decay * slot.decay_factor
        symbols = {name: Sym(name) for name in rule.vectors()}
        updated = rule.update(Sym("g"), Sym("θ"), symbols, Sym("lr"), Sym("decay") if decay else None, Sym("t"))
        view = layout.views(θ)[slot.name]
        values = {"g": shrink * layout.views(g)[slot.name], "θ": view, "t": 1.0, "decay": decay * 1.0}
        values |= {name: np.zeros(slot.shape) for name in symbols} | {"lr": rule.lr * slot.lr * factor}
        view[...] = evaluate(updated["θ"], values)
    return θ
