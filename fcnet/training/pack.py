"""Packs: several nets over the same batches of one source, each with rates, random words and early stopping of its own.

Member 0 with nothing of its own is the config's net; every member is, to the bit on NumPy, the net that is trained with
its rates alone. All of them see the rows in the order of the config's seed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fcnet.backends.base import Backend
from fcnet.backends.ops import Array
from fcnet.nn.network import Network
from fcnet.optim.update import Updater
from fcnet.records import dataclass
from fcnet.training import build
from fcnet.training.estimate import SCORED
from fcnet.training.events import Epoch, Notice, Progress
from fcnet.training.loop import Plan, train
from fcnet.training.prepare import Prepared
from fcnet.training.program import Forward
from fcnet.training.scoring import Scorer


@dataclass(frozen=True)
class Own:
    """What a member has of its own, None for what the config says; `number`: by which it draws its random words.

    `lr` and `weight_decay` are those of the rule that groups stand in, `dropout` that of every hidden layer.
    """

    number: int = 0
    lr: float | None = None
    weight_decay: float | None = None
    dropout: float | None = None


def single(prepared: Prepared, own: Own) -> Prepared:
    """The run of a member alone."""
    network, update = _made(prepared, own)
    return replace(prepared, network=network, update=update)


def pack(prepared: Prepared, members: Sequence[Own]) -> Prepared:
    """The run of all of them, side by side."""
    drops = any(own.dropout for own in members)
    made = [_made(prepared, own, sys.float_info.min if drops else 0.0) for own in members]  # too little to drop any
    network = Network.pack([net for net, _ in made])
    rules, update = [each.rule for _, each in made], prepared.update
    update = Updater(rules[0], network.layout, update.clip_norm, update.average, rules)
    return replace(prepared, network=network, update=update)


def _made(prepared: Prepared, own: Own, least: float = 0.0) -> tuple[Network, Updater]:
    settings, encoder, update = prepared.settings, prepared.data.encoder, prepared.update
    options = settings.network
    if own.dropout is not None:
        options = replace(options, layers=[_dropping(each, max(own.dropout, least)) for each in options.layers])
    driven, n_cat = build.driven(settings.schedules), prepared.network.n_cat
    network = build.network(options, encoder.n_in, prepared.head.n_out, driven=driven, n_cat=n_cat, who=(own.number,))
    rates = {"lr": own.lr, "weight_decay": own.weight_decay}
    rule: Any = replace(update.rule, **{name: rate for name, rate in rates.items() if rate is not None})  # type: ignore[type-var]  # every rule is a dataclass
    return network, Updater(rule, network.layout, update.clip_norm, update.average)


def _dropping(layer: Any, rate: float) -> Any:
    """The layer, or those inside it, with another share to drop where it has one."""
    if hasattr(layer, "layers"):
        layer = replace(layer, layers=[_dropping(each, rate) for each in layer.layers])
    return replace(layer, dropout=rate) if hasattr(layer, "dropout") else layer


class Pack:
    """A pack under way; `best` has each member's θ and buffers of its best epoch, in the order of `prepared`.

    `guess` and `poll` are as `Scorer` wants them.
    """

    def __init__(
        self, prepared: Prepared, backend: Backend, guess: Array, poll: Callable[[], object] = lambda: None
    ) -> None:
        self.prepared, self.backend, self.guess, self.poll = prepared, backend, guess, poll
        self.program, self.source = prepared.begin(backend)
        self.state = self.program.state
        self.best = {"θ": self.state.scored.copy(), "q": self.state.q.copy()}
        self._scorers: list[Scorer] = []
        self._scored: Array | None = None  # what these read

    def train(self, plan: Plan) -> Iterator[Progress | Epoch | Notice]:
        """To the end of the plan, as `fcnet.training.loop.train` goes; the best of each member are kept."""
        validated = len(self.prepared.data.parts["validation"]) > 0
        for event in train(self.program, self.source, plan, self._validate if validated else None):
            if isinstance(event, Epoch):
                for i, member in enumerate(event.members):
                    if member.best:
                        place = self.prepared.network.who.index(member.number)
                        self.best["θ"][place], self.best["q"][place] = self.state.scored[i], self.state.q[i]
            yield event

    def arrays(self) -> dict[str, Array]:
        """All that goes on needs beside `state.numbers()`: the members' that are left, and the best of all."""
        return {**self.state.arrays(), **{f"best/{name}": array for name, array in self.best.items()}}

    def restore(self, numbers: dict[str, Any], arrays: Mapping[str, Array]) -> None:
        """Go on from what `state.numbers()` and `arrays` gave."""
        left = [self.state.who.tolist().index(number) for number in numbers["who"]]
        if len(left) < len(self.state.who):
            self.program.keep(left)
        for name, array in self.arrays().items():
            array[...] = arrays[name]
        self.state.restore(numbers)

    def scorer(self, i: int, θ: Array, q: Array) -> Scorer:
        """What scores rows by the parameters θ and buffers q of one net of the shape of member i."""
        data, head = self.prepared.data, self.prepared.head
        forward = Forward(self.backend, self.prepared.network.one(i), θ, q, SCORED)
        rows = data.inputs, data.y, data.w
        return Scorer(self.backend, forward, head, self.prepared.metrics, self.guess, rows, data.row_weights, self.poll)

    def _validate(self) -> dict[str, float | Array]:
        """Loss and metrics of each member that is left, (M,)."""
        if self._scored is not self.state.scored:  # members have left
            self._scored = self.state.scored
            self._scorers = [self.scorer(0, θ, q) for θ, q in zip(self._scored, self.state.q, strict=True)]
        found = [score(self.prepared.data.parts["validation"]) for score in self._scorers]
        values = {name: np.array([metrics[name]["value"] for _, metrics in found]) for name in found[0][1]}
        return {"loss": np.array([loss for loss, _ in found]), **values}
