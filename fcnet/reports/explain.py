"""The derivation with the user's own numbers: each equation of one step, its arrays, its code, its check."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from fcnet import machine
from fcnet.backends.ops import Array
from fcnet.config import Config
from fcnet.formulas import Expr, Formula, Sym
from fcnet.formulas.notation import compact, formula, line
from fcnet.nn.activations import logistic
from fcnet.nn.losses import forward_backward
from fcnet.optim.rules import Optimizer, of_matrices
from fcnet.optim.solvers import of_objective
from fcnet.optim.update import Updater
from fcnet.records import dataclass
from fcnet.reports.summary import encodings
from fcnet.reports.summary import net as chain
from fcnet.reports.text import count
from fcnet.training.estimate import refuse_memory
from fcnet.training.gradcheck import Check, Trial
from fcnet.training.prepare import prepare
from fcnet.training.trace import Passage, Trace, trace

SHOWN = 4
"""Layers at each end of the net that are shown unless all are asked for."""


@dataclass(frozen=True)
class Quantity:
    """An array of an equation: its symbol as a line, what it is, its shape and its length ‖·‖."""

    symbol: str
    meaning: str
    shape: tuple[int, ...]
    norm: float


@dataclass(frozen=True)
class ShownEquation:
    """One equation: its number in the derivation or "", the equation as a line, its arrays, the function that computes
    it as module:name, that function's line in its file, and how it was checked, where it was."""

    number: str
    text: str
    quantities: tuple[Quantity, ...]
    code: str
    line: int
    check: Check | None = None
    note: str = ""


@dataclass(frozen=True)
class EquationGroup:
    """Some equations under a title: a layer, the loss, the update."""

    title: str
    equations: tuple[ShownEquation, ...]


@dataclass(frozen=True)
class Explanation:
    """One step of one net, ready to be shown. `parts` has the sections of the forward pass, the loss, the backward pass
    and the update; `left_out` counts the layers that are not shown in each pass."""

    name: str
    net: str
    batch: str
    parts: Mapping[str, tuple[EquationGroup, ...]]
    left_out: int
    checks: tuple[Check, ...]


def explanation(config: Config, everything: bool) -> Explanation:
    """Read the data, make one step, and explain it; raises what training would raise before its first step."""
    threads = machine.cores() if config.threads == "auto" else config.threads
    with machine.blas(threads):
        prepared = prepare(config, threads)
        refuse_memory(prepared.estimate().memory)
        return explain(Trial(prepared), everything)


def explain(trial: Trial, everything: bool) -> Explanation:
    """Make one step of the trial and explain it; of a deep net the first and last layers, or `everything`."""
    found = trace(trial, len(trial.network.layers) if everything else SHOWN)
    passages = found.passages
    shown = [p for i, p in enumerate(passages) if everything or i < SHOWN or i >= len(passages) - SHOWN]
    settings, network = trial.prepared.settings, trial.network
    rows = len(trial.prepared.data.parts["train"])
    batch = f"{count(trial.n, 'row')} of the first batch of {count(rows, 'training row')}"
    backward = [_section(p, "backward") for p in reversed(shown)]
    return Explanation(
        settings.name,
        f"{chain(*network.outline)} · {count(network.layout.count, 'parameter')} · {trial.loss.name}",
        batch,
        {
            "Forward": (*_encoded(trial), *(_section(p, "forward") for p in shown)),
            "Loss": (_loss(trial, found),),
            "Backward": tuple(section for section in backward if section.equations),
            "Update": _updates(trial.prepared.update, found),
        },
        len(passages) - len(shown),
        found.checks,
    )


def where(function: Callable[..., Any]) -> tuple[str, int]:
    """(module:name, line) of a function or method."""
    plain = getattr(function, "__func__", function)
    return f"{plain.__module__}:{plain.__qualname__}", plain.__code__.co_firstlineno


def norm(x: Array) -> float:
    """√ of the sum of squares."""
    return float(np.linalg.norm(x))


def _about(symbol: str, meaning: str, x: Array) -> Quantity:
    return Quantity(symbol, meaning, x.shape, norm(x))


def _vector(symbol: str, meaning: str, x: Array, count: int) -> Quantity:
    """A vector like θ, without the gaps between its slots."""
    return Quantity(symbol, meaning, (count,), norm(x))


def _equation(
    number: str, text: str, function: Callable[..., Any], check: Check | None, *quantities: Quantity, note: str = ""
) -> ShownEquation:
    code, at = where(function)
    return ShownEquation(number, text, quantities, code, at, check, note)


def _line(e: Expr, names: Mapping[str, str], known: Mapping[Expr, str]) -> str:
    """An expression as a line, in which the logistic function has its name σ."""
    return line(e, names, {**{logistic(Sym(own)): f"σ({name})" for own, name in names.items()}, **known})


def _section(seen: Passage, phase: str) -> EquationGroup:
    """The equations of a layer in one pass."""
    i, said = seen.names.i, []
    for j, e in enumerate(seen.equations):
        if e.phase == phase:
            arrays = {**seen.seen, **{name: make(seen.seen) for name, make in e.made.items()}}
            shown = [_about(symbol, meaning, arrays[at]) for at, (symbol, meaning) in e.shows.items() if at in arrays]
            said.append(_equation(e.number, e.text, e.function, seen.checks.get(j), *shown))
    kind, z, z_out = seen.layer.described()[0], seen.seen["z"], seen.seen["z_out"]
    own = any(name.startswith("p.") for name in seen.seen)
    title = f"layer {i}: {z.shape[-1]} → {z_out.shape[-1]} {kind}" if own else kind
    return EquationGroup(title, tuple(said))


def _loss(trial: Trial, found: Trace) -> EquationGroup:
    end, loss = found.ending, trial.loss
    n = trial.network.numbers[-1]
    z, δ = f"Z_{{{n + 1}}}", f"Δ_{{{n}}}"
    parts, several = loss.symbols, len(loss.parts) > 1
    said = [re.sub("([0-9]+)$", r"_{\1}", part) for part in loss.parts] if several else [z]
    names = {"y": "Y", **dict(zip(loss.parts, said, strict=True))}
    links = loss.link(parts)
    # The predictions have names of their own in what follows; a link that changes nothing needs none.
    pairs = enumerate(zip(links, parts, strict=True), 1)
    known = {link: f"P_{{{i}}}" if several else "P" for i, (link, part) in pairs if link is not part}
    ℓ, slopes = loss.terms(parts, Sym("y"))
    which = f",  {_tuple(said)} = {z}" if several else ""
    weights = (_about("w", "row weights", end.w),) if end.w is not None else ()
    w = "w ∘ " if end.w is not None else ""
    return EquationGroup(
        f"{trial.loss.name}, {count(trial.network.n_out, 'output')}",
        (
            _equation(
                "",
                f"P = {_tuple([_line(link, names, {}) for link in links])}{which}",
                loss.link,
                None,
                _about("P", "predictions", end.p),
                _about(z, "outputs of the net", end.z),
            ),
            _equation(
                "",
                f"L = Σ({w}ℓ) / B = {end.L:.6g},  ℓ = {_line(ℓ, names, known)}",
                loss.terms,
                end.checks["L"],
                _about("ℓ", "loss of each row", end.ℓ),
                _about("Y", "targets", end.y),
                *weights,
                note=f"B = {trial.n}",
            ),
            _equation(
                "",
                f"{δ} = {w}∂ℓ/∂{z} / B,  ∂ℓ/∂{z} = {_tuple([_line(slope, names, known) for slope in slopes])}",
                forward_backward,
                end.checks["δ"],
                _about(δ, "∂L/∂Z, gradient at the net's outputs", end.δ),
            ),
        ),
    )


def _encoded(trial: Trial) -> list[EquationGroup]:
    """How numbers become inputs, an equation for each encoding that is a formula."""
    features = trial.prepared.data.encoder.features
    return [
        EquationGroup(
            f"{count(n, 'column')}, {feature.encoding.name}",
            (
                _equation(
                    "", f"z = {text.partition(': ')[2]}", feature.encoding.f, None, note="x is a cell, z an input"
                ),
            ),
        )
        for feature, text, n in encodings(features)
        if hasattr(feature.encoding, "f")
    ]


def _tuple(lines: Sequence[str]) -> str:
    return lines[0] if len(lines) == 1 else f"({', '.join(lines)})"


def _updates(update: Updater, found: Trace) -> tuple[EquationGroup, ...]:
    """The update by each rule that moves anything; the last has what they have done together."""
    step, n = found.step, update.layout.count
    used = update.used()
    note = (
        f"L goes from {step.before:.6g} to {step.after:.6g}, by {_signed(step.after - step.before)}; "
        f"∇L · (θ′ − θ) foretells {_signed(step.foretold)}"
    )
    change = _vector("θ′ − θ", "the step", step.change, n)
    groups = []
    for i, (rule, slots) in enumerate(used):
        made = _direction(update, rule, found, first=i == 0)
        names = {"g": "d"} if of_matrices(rule) else {"g": "p", "lr": "α"} if of_objective(rule) else {}
        symbols = {name: Sym(name) for name in rule.vectors()}
        decay = Sym("decay") if rule.weight_decay and not of_objective(rule) else None
        results = Formula(rule.update(Sym("g"), Sym("θ"), symbols, Sym("lr"), decay, Sym("t")))
        *states, last = formula(results, names)
        made += [_equation("", text, rule.update, None) for text in states]
        done = i == len(used) - 1
        made.append(
            _equation("", last, rule.update, step.check, change, note=note)
            if done
            else _equation("", last, rule.update, None)
        )
        groups.append(EquationGroup(_rates(rule, found, slots if len(used) > 1 else ()), tuple(made)))
    return tuple(groups)


def _direction(update: Updater, rule: Optimizer, found: Trace, *, first: bool) -> list[ShownEquation]:
    """What a rule goes by: the gradient, or what it makes of it."""
    step, n = found.step, update.layout.count
    θ = _vector("θ", "all parameters, biases before weights", step.θ, n), _vector("∇L", "their gradient", step.g, n)
    shown = θ if first else ()
    clip = "" if update.clip_norm is None else f" · min(1, {compact(update.clip_norm)} / (‖∇L‖ + 1e-6))"
    if of_objective(rule):
        return [_equation("", "p = −∇L", rule.iterate, None, *shown, note="later on p = −H ∇L, H of the last pairs")]
    made = [_equation("", f"g = ∇L{clip}", update.record, None, *shown)]
    if of_matrices(rule):
        made.append(_equation("", f"d = direction(g, {', '.join(rule.vectors())})", rule.direction, None))
    return made


def _rates(rule: Optimizer, found: Trace, slots: Sequence[str]) -> str:
    """The title of a rule's equations."""
    decay = f", decay = {compact(rule.weight_decay)} on weights" if rule.weight_decay else ""
    α = found.step.length
    rates = f"lr = {compact(rule.lr)}, t = 1" if α is None else f"α = {compact(α)}"
    some = f", of {', '.join(slots[:SHOWN])}{', …' if len(slots) > SHOWN else ''}" if slots else ""
    return f"{getattr(rule, 'name', type(rule).__name__)}, {rates}{decay}{some}"


def _signed(x: float) -> str:
    return f"{x:+.4g}".replace("-", "−", 1)
