"""A second training of the nets that were found, as long as was best for each, on rows of training and validation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from fcnet.data import together
from fcnet.errors import DivergedError
from fcnet.training.events import Epoch
from fcnet.training.loop import Plan
from fcnet.training.pack import Pack
from fcnet.training.prepare import Prepared


def unsound(prepared: Prepared) -> str | None:
    """Why the length that was best on validation may not be the best for all rows; None where it may well be."""
    data = prepared.settings.data
    if prepared.folds is not None:
        return "the nets of the folds have learnt from all rows between them"
    if not len(prepared.data.parts["validation"]):
        return "there are no validation rows"
    if isinstance(data.validation, str) or data.split.by != "random":
        return "the validation rows were not drawn from those of training"
    if len(prepared.data.parts["validation"]) > len(prepared.data.parts["train"]):
        return "there are more validation rows than training rows"
    return None


def refit(pack: Pack, plan: Plan) -> Iterator[None]:
    """Train the chosen nets again, from their first weights on, and put the results in place of what `pack.best` has,
    and the data of all these rows in place of its own.

    Each goes through as many epochs as its best one counts, at the rates of a run of all; nothing is judged on the way.
    Yields where it may be given up, `pack` being as it was. Raises DivergedError.
    """
    places = [net.place for net in pack.chosen()]
    lengths = {pack.numbers[place]: int(pack.each(pack.best.epoch)[place]) for place in places}
    prepared = replace(pack.prepared, data=together(pack.prepared.data))
    if pack.several:
        network = prepared.network.only(places)
        prepared = replace(prepared, network=network, update=prepared.update.only(places, network.layout))
    again, plan = Pack(prepared, pack.backend, pack.guess, pack.poll), replace(plan, monitor=None, patience=None)
    for length in sorted({*lengths.values()}):
        stay = [i for i, number in enumerate(again.state.who.reshape(-1).tolist()) if lengths[number] >= length]
        again.take_up(stay)
        for event in again.train(plan):
            yield
            if isinstance(event, Epoch) and event.epoch == length:
                break
    done = again.each(again.best.epoch).tolist()
    if done != [lengths[number] for number in again.numbers] and not again.state.over():  # it may converge earlier now
        raise DivergedError("training diverged on training and validation rows together")
    pack.prepared = replace(pack.prepared, data=prepared.data)
    pack.each(pack.best.θ)[places], pack.each(pack.best.q)[places] = again.each(again.best.θ), again.each(again.best.q)
