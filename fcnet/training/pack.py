"""The nets of a run under way: one, or the members of an ensemble, trained side by side over the same batches.

Each member has its own early stopping and leaves when it is done. What the run has found is the mean of what the
members predict, each as it was in its best epoch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np

from fcnet.backends.base import Backend
from fcnet.backends.ops import Array
from fcnet.optim.solvers import of_objective
from fcnet.records import dataclass
from fcnet.training.estimate import SCORED
from fcnet.training.events import Epoch, Notice, Progress
from fcnet.training.loop import Plan, train
from fcnet.training.prepare import Prepared
from fcnet.training.program import Forward
from fcnet.training.scoring import Held, Mixed, Outputs, Scorer, Voices
from fcnet.training.solving import solve
from fcnet.training.state import taken


@dataclass
class Bests:
    """θ and buffers q of each member's best epoch (M, …), that epoch, 0 before there is one, and its value then."""

    θ: Array
    q: Array
    epoch: Array
    value: Array


@dataclass(frozen=True)
class Chosen:
    """A net of the ensemble: its place among all members, and the share that it has in the mean."""

    place: int
    weight: float


class Pack:
    """One net (M = 1, without a member axis) or several; `best` is in the order of `prepared`, whoever has left.

    `guess` and `poll` are as `Scorer` wants them.
    """

    def __init__(
        self, prepared: Prepared, backend: Backend, guess: Array, poll: Callable[[], object] = lambda: None
    ) -> None:
        self.prepared, self.backend, self.guess, self.poll = prepared, backend, guess, poll
        self.program, self.source = prepared.begin(backend)
        self.state = state = self.program.state
        self.numbers = prepared.network.who
        self.several = bool(prepared.network.members)
        layout, buffers = prepared.network.layout, prepared.network.buffers
        θ, q = layout.zeros(state.θ.dtype), buffers.zeros(state.q.dtype)
        θ[...], q[...] = state.scored, state.q
        self.best = Bests(θ, q, state.best_epoch.copy(), state.best.copy())
        self.reached = float("nan")
        """What `plan.monitor` is for the mean of the members' best, after the last epoch."""
        self._rows = prepared.data.parts["validation"]
        self._forward: Forward | None = None  # of those that are left
        self._one: Scorer | None = None  # by that, of one net
        self._now: Array | None = None  # (left, n, n_out) on validation, as of the last epoch
        self._held: Array | None = None  # (M, n, n_out) on validation, of each in its best epoch
        self._scores: dict[str | None, tuple[Held, Scorer]] = {}  # of outputs that were computed before
        self._picked: list[int] = []  # places, one as often as it counts

    @property
    def left(self) -> list[int]:
        """The places of the members that are still trained."""
        return [self.numbers.index(number) for number in self.state.who.reshape(-1).tolist()]

    def train(self, plan: Plan) -> Iterator[Progress | Epoch | Notice]:
        """To the end of the plan, as `fcnet.training.loop.train` goes; the best of each member are kept.

        The validation scores of an Epoch are those of the mean; it is `best` where any member's is.
        """
        given = self.program, self.source, plan, self._validate if len(self._rows) else None
        solver = of_objective(self.program.update.rule)
        for event in solve(*given, self.poll) if solver else train(*given):
            yield self._keep(event, plan) if isinstance(event, Epoch) else event

    def chosen(self) -> list[Chosen]:
        """The nets that predict; before any has had a best epoch all that are left, alike.

        Where nothing judges epochs a net that has diverged is none of them: its last epoch may be worth nothing.
        """
        epoch = self.best.epoch
        counts = epoch > 0 if np.isfinite(self.best.value).any() else (epoch > 0) & (epoch == epoch.max())
        places: list[int] = np.flatnonzero(counts).tolist()
        picked = Counter(self._picked if self._picked and places else places or self.left)
        return [Chosen(place, picked[place] / picked.total()) for place in sorted(picked)]

    def settle(self) -> bool:
        """The last epoch becomes the best where none was: the metric was never a number. Whether it was so."""
        state, left = self.state, self.left
        if np.isfinite(self.best.value).any() or self.best.epoch.max() == state.epoch:
            return False
        self.each(self.best.θ)[left], self.each(self.best.q)[left] = self.each(state.scored), self.each(state.q)
        self.each(self.best.epoch)[left] = state.best_epoch[...] = state.epoch
        return True

    def take_up(self, which: list[int]) -> None:
        """Go on with these of those that are left."""
        if len(which) < len(self.left):
            self.program.keep(which)

    def recall(self, plan: Plan) -> None:
        """Find again what the members in `best` said on validation, and which are picked, once they are there."""
        if self.several and len(self._rows) and self.best.epoch.any():
            forward = Forward(self.backend, self.prepared.network, self.best.θ, self.best.q, SCORED)
            self._held = forward(self.prepared.data.inputs, self._rows)
            self._pick(plan)

    def scorer(self) -> Scorer:
        """What scores any rows by the nets that are chosen, each in its best epoch."""
        chosen, best, network = self.chosen(), self.best, self.prepared.network
        if not self.several:
            return self._scorer(Forward(self.backend, network, best.θ, best.q, SCORED))
        places = [each.place for each in chosen]
        own = taken(best.θ, places), taken(best.q, places)
        forward = Forward(self.backend, network.only(places), *own, SCORED)
        head = self.prepared.head
        return self._scorer(Mixed([Voices(forward, head, tuple(each.weight for each in chosen))], head))

    def _scorer(self, outputs: Outputs, alone: str | None = None) -> Scorer:
        data, prepared = self.prepared.data, self.prepared
        rows = data.inputs, data.y, data.w
        metrics = [metric for metric in prepared.metrics if alone in (None, metric.name)]
        return Scorer(self.backend, outputs, prepared.head, metrics, self.guess, rows, data.row_weights, self.poll)

    def each(self, array: Array) -> Array:
        """A vector or number of each member, with the member axis of one net too."""
        return array if self.several else array.reshape(1, *array.shape)

    def _keep(self, event: Epoch, plan: Plan) -> Epoch:
        """Keep the parameters of those members whose best epoch this is; the event with the scores of the mean."""
        state, best = self.state, self.best
        better = [member.best for member in event.members] if self.several else [event.best]
        for i, place in enumerate(self.left):
            if better[i]:
                self.each(best.θ)[place], self.each(best.q)[place] = self.each(state.scored)[i], self.each(state.q)[i]
                self.each(best.epoch)[place], self.each(best.value)[place] = event.epoch, self.each(state.best)[i]
            if self._now is not None and (better[i] or not best.epoch[place]):
                if self._held is None:
                    self._held = np.zeros((len(self.numbers), *self._now.shape[1:]), self._now.dtype)
                self._held[place] = self._now[i]
        if not self.several:
            self.reached = float(state.best)
            return event
        if any(better):
            self._pick(plan)
        mean = {} if self._now is None else self._mean()
        self.reached = mean.get(plan.monitor or "", np.nan)
        return replace(event, val=mean)

    def _pick(self, plan: Plan) -> None:
        """Pick nets, any of them more than once, by the mean of those picked so far (Caruana et al. 2004).

        Of means that are equally good the one with the smaller loss; of numbers of picks the one that was best, the
        largest where they are equally good.
        """
        picks, places = self.prepared.settings.members.select, np.flatnonzero(self.best.epoch).tolist()
        if picks is None or self._held is None or not places:
            return
        head, held, sign = self.prepared.head, self._held, -1.0 if plan.greater else 1.0
        p = {place: head.averaged(held[place]) for place in places}
        total = np.zeros_like(p[places[0]])
        picked: list[int] = []
        found: list[float] = []

        def cost(place: int) -> tuple[float, float]:
            scores = self._scored(head.said((total + p[place]) / (len(picked) + 1)).astype(held.dtype), plan.monitor)
            value = sign * scores[plan.monitor or "loss"]
            return (value if value == value else np.inf), scores["loss"]

        while len(picked) < picks:
            costs = {place: cost(place) for place in places}
            picked.append(min(places, key=costs.__getitem__))
            total += p[picked[-1]]
            found.append(costs[picked[-1]][0])
        self._picked = picked[: len(found) - int(np.argmin(found[::-1]))]

    def _validate(self) -> Mapping[str, float | Array]:
        """Loss and metrics on validation: of one net, or (M,) of the members that are left."""
        if self._forward is None or self._forward.θ is not self.state.scored:  # members have left
            self._forward = Forward(self.backend, self.program.network, self.state.scored, self.state.q, SCORED)
            self._one = None if self.several else self._scorer(self._forward)
        if self._one is not None:
            return _values(*self._one(self._rows))
        with np.errstate(all="ignore"):  # a member that diverges is found by its state
            self._now = self._forward(self.prepared.data.inputs, self._rows)
        found = []
        for a in self._now:
            self.poll()
            found.append(self._scored(a))
        return {name: np.array([each[name] for each in found]) for name in found[0]}

    def _scored(self, a: Array, alone: str | None = None) -> dict[str, float]:
        """Loss and metrics, or but one of them, of outputs on validation, (n, n_out).

        Nothing can stop it: while nets are picked, an epoch is done that has not been told yet.
        """
        if alone not in self._scores:
            held = Held(a, self._rows, len(self.prepared.data.inputs))
            scorer = self._scorer(held, alone)
            scorer.poll = lambda: None
            self._scores[alone] = held, scorer
        held, scorer = self._scores[alone]
        held.a = a
        return _values(*scorer(self._rows))

    def _mean(self) -> dict[str, float]:
        """The same of the mean of what the chosen say."""
        assert self._held is not None
        chosen = self.chosen()
        a = self._held[[each.place for each in chosen]]
        return self._scored(self.prepared.head.mixed(a, [each.weight for each in chosen]))


def _values(loss: float, metrics: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    return {"loss": loss, **{name: value["value"] for name, value in metrics.items()}}
