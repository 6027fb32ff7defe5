"""The members of an ensemble: nets of one config, each with random words of its own and rates that may differ.

Member 0 with nothing of its own is the config's net; every member is, to the bit on NumPy, the net that is trained with
its rates alone. All of them see the rows in the order of the config's seed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fcnet import random
from fcnet.config.schema import Architecture, Between, Config
from fcnet.nn.network import Network
from fcnet.optim.update import Updater
from fcnet.records import dataclass
from fcnet.training import build

if TYPE_CHECKING:
    from fcnet.training.prepare import Prepared


@dataclass(frozen=True)
class Own:
    """What a member has of its own, None for what the config says; `number`: by which it draws its random words.

    `lr` and `weight_decay` are those of the rule that groups stand in, `dropout` that of every hidden layer, `scale`
    that of embeddings of numbers; `depth`: how often the last layer of network.layers is there.
    """

    number: int = 0
    lr: float | None = None
    weight_decay: float | None = None
    dropout: float | None = None
    scale: float | None = None
    depth: int | None = None

    @property
    def rates(self) -> dict[str, float]:
        """Those that it has, by their names in the config's `members`."""
        found = {name: getattr(self, name) for name in ("lr", "weight_decay", "dropout", "scale", "depth")}
        return {name: rate for name, rate in found.items() if rate is not None}


def members(settings: Config, fold: int = 0) -> list[Own]:
    """What each net of a config's ensemble has of its own: a pure function of its seed and its number.

    Numbers go on from fold to fold.
    """
    return [drawn(settings, fold * settings.ensemble + number) for number in range(settings.ensemble)]


def drawn(settings: Config, number: int) -> Own:
    """What the net of that number has."""
    about = settings.members
    u = random.uniform(5, random.key(settings.seed, "rates", number)).tolist()
    lr, decay, scale = (_between(*each) for each in ((about.lr, u[0]), (about.weight_decay, u[1]), (about.scale, u[4])))
    dropout = None if about.dropout is None else float(u[2] >= 0.5) * u[3] * about.dropout
    deep = about.depth
    place = number % settings.ensemble  # in its fold
    depth = None if deep is None else deep.low + place * (deep.high - deep.low + 1) // settings.ensemble
    return Own(number, lr, decay, dropout, scale, depth)


def _between(limits: Between | None, u: float) -> float | None:
    """The number that the share u of the way leads to, by its logarithm."""
    return None if limits is None else limits.low * (limits.high / limits.low) ** u


def single(prepared: Prepared, own: Own) -> Prepared:
    """The run of a member alone."""
    network, update = _made(prepared, own)
    return replace(prepared, network=network, update=update)


def pack(prepared: Prepared, owns: Sequence[Own]) -> Prepared:
    """The run of all of them, side by side."""
    drops = any(own.dropout for own in owns)
    made = [_made(prepared, own, sys.float_info.min if drops else 0.0) for own in owns]  # too little to drop any
    network = Network.pack([net for net, _ in made])
    rules, update = [each.rule for _, each in made], prepared.update
    update = Updater(rules[0], network.layout, update.clip_norm, update.average, rules)
    return replace(prepared, network=network, update=update)


def _made(prepared: Prepared, own: Own, least: float = 0.0) -> tuple[Network, Updater]:
    settings, encoder, update = prepared.settings, prepared.data.encoder, prepared.update
    dropout = None if own.dropout is None else max(own.dropout, least)
    options = layered(settings.network, own)
    options = replace(options, layers=[_with(each, dropout=dropout, scale=own.scale) for each in options.layers])
    head, driven, n_cat = prepared.head, build.driven(settings.schedules), prepared.network.n_cat
    network = build.network(options, encoder.n_in, head.n_out, head.loss, driven=driven, n_cat=n_cat, who=(own.number,))
    rates = {"lr": own.lr, "weight_decay": own.weight_decay}
    rule: Any = replace(update.rule, **{name: rate for name, rate in rates.items() if rate is not None})  # type: ignore[type-var]  # every rule is a dataclass
    return network, Updater(rule, network.layout, update.clip_norm, update.average)


def layered(options: Architecture, own: Own) -> Architecture:
    """With as many layers as the member has."""
    if own.depth is None or not options.layers:
        return options
    *others, last = options.layers
    return replace(options, layers=[*others, *[last] * own.depth])


def _with(layer: Any, **own: float | None) -> Any:
    """The layer, and those inside it, with these in place of what it has of that name."""
    if hasattr(layer, "layers"):
        layer = replace(layer, layers=[_with(each, **own) for each in layer.layers])
    return replace(layer, **{name: x for name, x in own.items() if x is not None and hasattr(layer, name)})
