"""What a run leaves on the disk while it trains: its log, its best and its last checkpoint, and how they come back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np

from fcnet.backends.ops import Array
from fcnet.config import schema
from fcnet.errors import CheckpointError
from fcnet.runs import checkpoint, folder
from fcnet.runs.log import MetricsLog
from fcnet.runs.model import check_members, fill, listed, nets_of, parameters, understand
from fcnet.training.calibration import Calibrator
from fcnet.training.events import Epoch
from fcnet.training.loop import Plan
from fcnet.training.pack import Pack
from fcnet.training.state import State

SAVE_SECONDS = 1.0
"""At most one checkpoint in this time."""


@dataclass
class Best:
    """Of which epoch the best nets are that the pack has, and whether the disk has them."""

    epoch: int = 0
    step: int = 0
    metrics: Mapping[str, Any] | None = None
    saved: bool = True
    calibration: Calibrator | None = None


@dataclass(frozen=True)
class Fold:
    """A fold of a run: what a header says of it and of its nets, and the arrays of each of these by their names, with
    the fold's preprocessing under the first."""

    about: Mapping[str, Any]
    nets: tuple[Mapping[str, Any], ...]
    arrays: tuple[Mapping[str, Array], ...]

    @staticmethod
    def all_before(held: checkpoint.Checkpoint) -> tuple[Fold, ...]:
        """Those that a last.npz, which was checked, holds besides the one that goes on."""
        found = []
        for fold, about in enumerate(held.header.get("folds", ())[:-1]):
            places = [i for i, net in enumerate(held.header["nets"]) if net["fold"] == fold]
            arrays = tuple(
                {n.removeprefix(f"{i}/"): a.copy() for n, a in held.arrays.items() if n.startswith(f"{i}/")}
                for i in places
            )
            nets = (held.header["nets"][i] for i in places)
            found.append(Fold(about, tuple({**net, "weight": net["share"]} for net in nets), arrays))
        return tuple(found)


@dataclass
class Folding:
    """Where a run is among its folds: those `before` the one that is trained, and whether that is `done`; `last`:
    whether only the last one that is done predicts, and not all alike."""

    before: tuple[Fold, ...] = ()
    last: bool = False
    done: bool = False


class Saver:
    """Saves one run's state, and takes it up again.

    `header` is what the checkpoints' headers say throughout the run, `fitted` the arrays of the preprocessing, `given`
    the config as the user wrote it. Always in this order: best.npz, the log's rows, last.npz, so that nothing on the
    disk is ever ahead of what it needs. Of folds best.npz has those that are done, and the first while it is trained.
    """

    def __init__(
        self,
        run: folder.RunFolder,
        log: MetricsLog,
        pack: Pack,
        plan: Plan,
        every: schema.CheckpointInterval,
        header: Mapping[str, Any],
        fitted: Mapping[str, Array],
        given: Mapping[str, Any],
        place: Folding | None = None,
    ) -> None:
        self.folds = place
        self.run, self.log, self.pack, self.plan, self.every = run, log, pack, plan, every
        self.header, self.fitted, self.given = header, fitted, given
        self.state, self.best = pack.state, Best()
        self._row: Mapping[str, Any] | None = None  # the last epoch's
        self._saved = (0, 0, 0)
        self._at = monotonic()

    def take_up(self, held: checkpoint.Checkpoint, check: Callable[[State], None]) -> list[str]:
        """Go on from a last.npz: fill the state, cut the log back, recall the best; what should be said about it.

        `check` raises where the state makes no sense for the run. CheckpointError where the files do not belong
        together.
        """
        header = held.header
        self._check_run(header, str(held.path))
        nets, vectors = listed(self.pack.prepared.network, held), tuple(self.state.vectors)
        check_members(nets, held, self.state.θ.dtype.name, vectors)
        try:
            numbers = self.pack.numbers
            self.pack.take_up([numbers.index(number) for number in header["state"].get("who", numbers)])
            fill(held, self._own(header))
            self.state.restore(header["state"])
            check(self.state)
            best, place = header.get("metrics") or {}, self.pack.best
            self.best = Best(int(best.get("epoch", 0)), int(best.get("step", 0)), header.get("metrics"))
            for net in header.get("nets", ()):
                if net.get("fold") == self.fold:
                    at = numbers.index(net["member"])
                    self.pack.each(place.epoch)[at] = net["epoch"]
                    self.pack.each(place.value)[at] = np.nan if net.get("best") is None else net["best"]
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise CheckpointError(
                f"its header lacks or garbles {error}, so the run cannot be continued", file=str(held.path)
            ) from None
        self._put_validated_back()
        several = self.pack.several or self.folds is not None
        if several:
            goes_on = self.state.finished is None and self.state.epoch < self.plan.epochs
            if goes_on and self.plan.monitor is not None and not np.isfinite(place.value).any():
                place.epoch[...] = self.state.best_epoch[...] = 0  # what was settled on at the end was none
                self.best = Best()
            self.pack.recall(self.plan)
            self.best.saved = not self.best.epoch  # best.npz may be ahead
        notices = [] if several else self._recall_best(header.get("metrics"))
        last = self.log.cut(*([] if self.fold is None else [self.fold]), self.state.epoch)
        if last < self.state.epoch:
            notices.append(f"metrics.csv lacks the rows of the epochs after {last}; it goes on without them")
        self._saved = self._place()
        return notices

    def epoch_done(self, event: Epoch) -> None:
        """Write the epoch's row, and remember the parameters if they are the best."""
        row: dict[str, Any] = {
            **({} if self.fold is None else {"fold": self.fold}),
            "epoch": event.epoch,
            "step": event.step,
            "lr": event.lr,
            "train_loss": event.train_loss,
            **{f"val_{name}": value for name, value in event.val.items()},
            "seconds": event.seconds,
            "elapsed": event.elapsed,
        }
        row = {name: value if np.isfinite(value) else None for name, value in row.items()}
        self.log.append(row)
        self._row = row
        if event.best:
            self.best.epoch, self.best.step, self.best.saved = event.epoch, event.step, False
            self.best.metrics = row
            self.best.calibration = None

    def settle_best(self) -> bool:
        """The last epoch becomes the best where none was: the metric was never a number. Whether it was so."""
        if not self.pack.settle():
            return False
        self.best = Best(self.state.epoch, self.state.step, self._row, saved=False)
        return True

    def calibrated(self, calibration: Calibrator) -> None:
        """The best parameters will not change any more; what validation rows say of them."""
        self.best.calibration, self.best.saved = calibration, False

    def due(self) -> bool:
        """Whether a checkpoint is due; at most one in SAVE_SECONDS."""
        waited = monotonic() - self._at
        if waited < SAVE_SECONDS:
            return False
        epoch, _, step = self._saved
        if self.every.epochs is not None:
            return self.state.row == 0 and self.state.epoch - epoch >= self.every.epochs
        if self.every.steps is not None:
            return self.state.step - step >= self.every.steps
        assert self.every.minutes is not None
        return waited >= 60 * self.every.minutes

    def save(self) -> None:
        """Save all of it, unless the disk has just that already."""
        if self._saved == self._place() and self.best.saved:
            return
        self.save_best()
        self.log.sync()
        header = {
            **self.header,
            "epoch": self.state.epoch,
            "step": self.state.step,
            "metrics": self.best.metrics,
            "state": self.state.numbers(),
            "given": self.given,
            **self.nets(last=True),
        }
        self.run.save(folder.LAST, header, {**self._arrays(header), **self.fitted})
        self._saved = self._place()
        self._at = monotonic()

    def save_best(self) -> None:
        """Save best.npz where the disk lacks it."""
        if not self.best.saved and self._counts:
            self.run.save(folder.BEST, *self._of_best())
            self.best.saved = True

    def refitted(self, about: Mapping[str, Any]) -> None:
        """Save the nets that were trained once more as best.npz; `about`: what their header says else."""
        self.header = {**self.header, **about}
        self.run.save(folder.BEST, *self._of_best())

    def keep_validated(self) -> None:
        """Save the best nets so far under a name of their own."""
        self.run.save(folder.VALIDATED, *self._of_best())

    def packed(self) -> bytes:
        """What best.npz would be now, as bytes."""
        return checkpoint.pack(*self._of_best())

    def begin_with(self, held: checkpoint.Checkpoint) -> None:
        """Begin with the parameters of a checkpoint's nets in place of initial weights; others begin anew.

        Raises CheckpointError where they have another shape.
        """
        pack, state = self.pack, self.state
        own = listed(pack.prepared.network, held)
        check_members(own, held, state.θ.dtype.name)
        θ, q = pack.each(state.θ), pack.each(state.q)
        nets = held.header.get("nets", ({"member": pack.numbers[0]},))
        for net, one, (at, *_) in zip(nets, own, nets_of(held.header), strict=True):
            if net["member"] in pack.numbers:
                place = pack.numbers.index(net["member"])
                fill(held, parameters(one, θ[place], q[place], at))
        state.scored[...] = state.θ
        pack.best.θ[...], pack.best.q[...] = state.θ, state.q

    @property
    def fold(self) -> int | None:
        """The number of the fold that is trained; None without folds."""
        return None if self.folds is None else len(self.folds.before)

    @property
    def _counts(self) -> bool:
        """Whether what is trained is in best.npz."""
        return self.folds is None or self.folds.done or not self.folds.before

    def fold_done(self) -> None:
        """The nets of the fold will not change any more."""
        if self.folds is not None and not self.folds.done:
            self.folds.done, self.best.saved = True, False

    def all_done(self) -> tuple[Fold, ...]:
        """The folds that are done, this one too, for those after it."""
        assert self.folds is not None
        header = {"nets": self._listed(last=False)}
        arrays = [
            {name.partition("/")[2]: array.copy() for name, array in self._own(header, at).items()}
            for at in range(len(header["nets"]))
        ]
        arrays[0] |= self._fitted_here
        return (*self.folds.before, Fold(self._about, tuple(header["nets"]), tuple(arrays)))

    @property
    def steps(self) -> int:
        """Those of all folds so far."""
        before: list[int] = [each.about["steps"] for each in (self.folds.before if self.folds else ())]
        return self.state.step + sum(before)

    @property
    def _fitted_here(self) -> dict[str, Array]:
        """The arrays of the fold's own preprocessing."""
        data = self.pack.prepared.data
        return {**data.encoder.arrays(), **data.target.arrays()}

    @property
    def _about(self) -> dict[str, Any]:
        """What a header says of the fold."""
        data, state = self.pack.prepared.data, self.state
        columns = data.encoder.header()["columns"]
        rows = len(data.parts["validation"])
        return {"columns": columns, "rows": rows, "epochs": state.epoch, "steps": state.step}

    def _of_best(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """Header and arrays of the best so far."""
        at = {"epoch": self.best.epoch, "step": self.best.step, "metrics": self.best.metrics}
        header = {**self.header, **at, **self.nets(last=False)}
        if self.folds is not None:
            header |= {"epoch": max(net["epoch"] for net in header["nets"]), "step": self.steps}
        found = self.best.calibration
        known = {} if found is None else {"calibration": found.header()}
        return header | known, {**self._arrays(header), **self.fitted}

    def nets(self, *, last: bool) -> dict[str, Any]:
        """What the header says of several nets: those that predict, and in last.npz those that may yet."""
        if self.folds is None:
            return {"nets": self._listed(last=last)} if self.pack.several else {}
        before, counts = self.folds.before, self._counts
        shown = [(fold.about, fold.nets) for fold in before]
        shown += [(self._about, tuple(self._listed(last=last)))] if last or counts else []
        n = len(before) + counts
        alike = [0.0] * (n - 1) + [1.0] if self.folds.last else [1 / n] * n
        shares = [*alike, 0.0][: len(shown)]
        nets = [
            {**net, "weight": net["weight"] * share, "share": net["weight"]}
            for (_, nets), share in zip(shown, shares, strict=True)
            for net in nets
        ]
        return {"nets": nets, "folds": [about for about, _ in shown], **({"fold": self.fold} if last else {})}

    def _listed(self, *, last: bool) -> list[dict[str, Any]]:
        """The nets that are trained now, those that predict, and with `last` those that may yet."""
        pack, fold = self.pack, {} if self.folds is None else {"fold": self.fold}
        epoch, value = pack.each(pack.best.epoch), pack.each(pack.best.value)
        weights = dict.fromkeys(sorted({*pack.left, *np.flatnonzero(epoch).tolist()}), 0.0) if last else {}
        weights |= {net.place: net.weight for net in pack.chosen()}
        return [
            {
                "member": pack.numbers[i],
                "weight": weight,
                "epoch": int(epoch[i]),
                **({} if np.isnan(value[i]) else {"best": float(value[i])}),
                **fold,
            }
            for i, weight in weights.items()
        ]

    def _arrays(self, header: Mapping[str, Any]) -> dict[str, Array]:
        """All arrays of a checkpoint of that header by their names but those of the preprocessing of all rows; views,
        not copies."""
        found = self._own(header)
        if self.folds is not None:
            given = [arrays for fold in self.folds.before for arrays in fold.arrays]
            given += [self._fitted_here] if len(header["folds"]) > len(self.folds.before) else []
            found |= {f"{i}/{name}": array for i, arrays in enumerate(given) for name, array in arrays.items()}
        return found

    def _own(self, header: Mapping[str, Any], only: int | None = None) -> dict[str, Array]:
        """The arrays of the nets that are trained now, or of but one that the header lists.

        Of a net that goes on its parameters stand there as they are now, of others those of its best epoch.
        """
        pack, state, last = self.pack, self.state, "state" in header
        left = {place: i for i, place in enumerate(pack.left)} if last else {}
        found: dict[str, Array] = {}
        nets = header.get("nets", ({"member": pack.numbers[0]},))
        for j, (net, (at, goes_on, has_best)) in enumerate(zip(nets, nets_of(header), strict=True)):
            if net.get("fold") != self.fold or only not in (None, j):
                continue
            place = pack.numbers.index(net["member"])
            one = pack.prepared.network.one(place)
            θ, q = pack.each(pack.best.θ)[place], pack.each(pack.best.q)[place]
            if not (last and goes_on):
                found |= parameters(one, θ, q, at)
                continue
            i = left[place]
            vectors = {name: pack.each(vector)[i] for name, vector in state.vectors.items()}
            found |= parameters(one, pack.each(state.θ)[i], pack.each(state.q)[i], at, vectors)
            found |= parameters(one, θ, q, f"{at}best/") if has_best else {}
        return found

    def _place(self) -> tuple[int, int, int]:
        return self.state.epoch, self.state.row, self.state.step

    def _check_run(self, header: Mapping[str, Any], file: str) -> None:
        """CheckpointError for a checkpoint that another run has written."""
        recorded = folder.noted(self.run.folder.read(folder.ENVIRONMENT)).get("run")
        if recorded is not None and recorded != header.get("run"):
            raise CheckpointError(
                f"it belongs to another run than this folder; put the run's own {Path(file).name} back, or start anew "
                "with --overwrite",
                file=file,
            )

    def _put_validated_back(self) -> None:
        """The best net that has not seen the validation rows takes the place of one that may have."""
        run, path = self.run.folder, self.run.path / folder.VALIDATED
        kept = run.read(folder.VALIDATED)
        if kept is not None:
            self._check_run(checkpoint.parse(kept, path).header, str(path))
            run.remove(folder.SUMMARY)  # which is of the other
            run.write(folder.BEST, [kept])
            run.remove(folder.VALIDATED)

    def _recall_best(self, metrics: Any) -> list[str]:
        """The best parameters so far, from best.npz; or the present ones, where they are the best and it is damaged.

        A best.npz that is ahead was written just before a kill: its epoch comes again, and writes the same.
        """
        state, best = self.state, self.pack.best
        path = self.run.path / folder.BEST
        try:
            held = checkpoint.read(path)
            understand(held)
        except CheckpointError as error:
            if state.best_epoch and (state.best_epoch < state.epoch or state.row):
                raise CheckpointError(
                    f"{error.problems[0].text}; without it the run cannot be continued: start it anew with --overwrite",
                    file=str(path),
                ) from None
            best.θ[...], best.q[...] = state.scored, state.q
            best.epoch[...], best.value[...] = state.best_epoch, state.best
            self.best = Best(int(state.best_epoch), state.step, metrics, saved=not state.best_epoch)
            return [f"{path} is damaged or missing; it is written anew"] if state.best_epoch else []
        self._check_run(held.header, str(path))
        match held.header:
            case {"epoch": int(epoch), "step": int(step)} if epoch >= state.best_epoch:
                fill(held, parameters(self.pack.prepared.network, best.θ, best.q))
                best.epoch[...], best.value[...] = epoch, state.best
                self.best = Best(epoch, step, held.header.get("metrics"))
                return []
        raise CheckpointError(
            f"it is not of epoch {state.best_epoch}, which was the best as {folder.LAST} says; they do not belong "
            "together: start the run anew with --overwrite",
            file=str(path),
        )
