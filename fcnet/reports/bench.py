"""What `bench` shows: where a step's time goes, layer by layer, and how far it is from its own matrix products."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from fcnet.formulas.notation import compact
from fcnet.reports.summary import net, size
from fcnet.reports.text import count, fold, hang, label_width, left, table
from fcnet.training.prepare import Prepared
from fcnet.training.timing import PhaseOfLayer, Profile, Spread

ONCE = {"gather": "gather a batch's rows", "loss": "loss and its gradient", "loop": "shuffle, rate, checks"}
"""The sections that belong to no layer, in the words of the table."""


def lines(prepared: Prepared, profiles: Sequence[Profile], following: str, width: int | None) -> list[str]:
    """The lines for people: the net, the step on every backend, the first one's step in pieces."""
    settings, network, first = prepared.settings, prepared.network, profiles[0]
    indent = label_width(settings.name)
    chain = net(*network.outline)
    optimizer = f"{getattr(settings.optimizer, 'name', '')} {compact(settings.optimizer.lr)}"
    about = [f"{first.rows} rows a step", optimizer, settings.dtype, count(prepared.threads, "thread")]
    headers = ["µs a step", "fastest", "rows/s", "GFLOP/s", "products", "÷ products"]
    steps = [(profile.backend, _step(profile)) for profile in profiles]
    return [
        *fold(settings.name, [chain, size(len(network.who), network.layout.count), *about], width, indent),
        *table("step", "", headers, steps, indent, width),
        *table(
            first.backend,
            "µs",
            ["forward", "backward", "update", "together", "GFLOP/s"],
            _rows(prepared, first),
            indent,
            width,
        ),
        *_compared(profiles, indent, width),
        left("next", indent) + following,
    ]


def mapping(prepared: Prepared, profiles: Sequence[Profile]) -> dict[str, Any]:
    """The same for programs; times in seconds."""
    settings = prepared.settings
    return {
        "name": settings.name,
        "widths": list(prepared.network.outline[0]),
        "parameters": prepared.network.layout.count,
        "batch_size": profiles[0].rows,
        "dtype": settings.dtype,
        "threads": prepared.threads,
        "backend": profiles[0].backend,
        "backends": {profile.backend: _mapped(prepared, profile) for profile in profiles},
    }


def _mapped(prepared: Prepared, profile: Profile) -> dict[str, Any]:
    layers = []
    for i in range(prepared.network.numbers[-1] + 1):
        entry: dict[str, Any] = {"layer": i}
        for phase in ("forward", "backward"):
            if (phase, i) in profile.sections:
                entry[phase] = _spread(profile.sections[phase, i])
        if i:
            entry["update"] = profile.sections["update", 0].median * _share(prepared, i)
            entry["gflops"] = _layer_rate(profile, i)
        if len(entry) > 1:
            layers.append(entry)
    return {
        "step": _spread(profile.step),
        "rows_per_second": profile.rows / profile.step.median,
        "gflops": profile.flops / profile.step.median / 1e9,
        "products": {**_spread(profile.products), "gflops": profile.flops / profile.products.median / 1e9},
        "ratio": profile.step.median / profile.products.median,
        "gather": _spread(profile.sections["gather", 0]),
        "forward": _total(profile, "forward"),
        "loss": _spread(profile.sections["loss", 0]),
        "backward": _total(profile, "backward"),
        "update": _spread(profile.sections["update", 0]),
        "loop": _spread(profile.sections["loop", 0]),
        "layers": layers,
    }


def _spread(spread: Spread) -> dict[str, float]:
    return {"median": spread.median, "minimum": spread.minimum}


def _total(profile: Profile, phase: str) -> dict[str, float]:
    chosen = [spread for (name, _), spread in profile.sections.items() if name == phase]
    return {"median": sum(each.median for each in chosen), "minimum": sum(each.minimum for each in chosen)}


def _step(profile: Profile) -> list[str]:
    step, products = profile.step.median, profile.products.median
    return [
        _micro(step),
        _micro(profile.step.minimum),
        f"{profile.rows / step:,.0f}",
        f"{profile.flops / step / 1e9:.1f}",
        _micro(products),
        f"{step / products:.2f} ×",
    ]


def _rows(prepared: Prepared, profile: Profile) -> list[tuple[str, list[str]]]:
    """One row a layer, between what comes before the first and what comes after the last."""
    seconds = {section: spread.median for section, spread in profile.sections.items()}

    def once(phase: str) -> tuple[str, list[str]]:
        return ONCE[phase], ["", "", "", _micro(seconds[phase, 0]), ""]

    widths = prepared.network.outline[0]
    layers = []
    if ("forward", 0) in seconds:
        time = _micro(seconds["forward", 0])
        layers.append(("input dropout", [time, "", "", time, ""]))
    for i in range(1, prepared.network.numbers[-1] + 1):
        parts = [seconds["forward", i], seconds["backward", i], seconds["update", 0] * _share(prepared, i)]
        rate = f"{_layer_rate(profile, i):.1f}"
        layers.append((f"layer {i}: {widths[i - 1]} → {widths[i]}", [*map(_micro, [*parts, sum(parts)]), rate]))
    return [once("gather"), *layers, once("loss"), once("loop")]


def _layer_rate(profile: Profile, layer: int) -> float:
    """GFLOP/s of a layer's forward and backward pass."""
    sections: list[PhaseOfLayer] = [("forward", layer), ("backward", layer)]
    spent = sum(profile.sections[section].median for section in sections)
    return sum(profile.section_flops.get(section, 0) for section in sections) / max(spent, 1e-9) / 1e9


def _share(prepared: Prepared, layer: int) -> float:
    """The part of all parameters that layer i holds: the update is one pass over θ, the same for each of them."""
    network = prepared.network
    named = [names.values() for number, names in zip(network.numbers, network.names, strict=True) if number == layer]
    own = {name for names in named for name in names}
    sizes = {slot.name: math.prod(slot.shape) for slot in network.layout.slots}
    return sum(size for name, size in sizes.items() if name in own) / sum(sizes.values())


def _compared(profiles: Sequence[Profile], indent: int, width: int | None) -> list[str]:
    """A line that says which backend is faster, and how much."""
    if len(profiles) < 2:
        return []
    fast, slow = sorted(profiles, key=lambda profile: profile.step.median)[:2]
    times = slow.step.median / fast.step.median
    chosen = "the one that this config takes" if fast is profiles[0] else f"this config takes {profiles[0].backend}"
    return hang(left("backend", indent), f"{fast.backend} is {times:.2f} × as fast as {slow.backend}; {chosen}", width)


def _micro(seconds: float) -> str:
    return f"{seconds * 1e6:,.1f}"
