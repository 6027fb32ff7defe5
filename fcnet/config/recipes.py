"""Recipes: defaults that belong together. What a config says itself stands over them, key by key."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from fcnet.data.options import Task
from fcnet.data.target import TASKS, Classes, Numbers, Target
from fcnet.records import dataclass

if TYPE_CHECKING:
    from fcnet.data import Dataset

Recipe = Callable[["Facts"], dict[str, Any]]


@dataclass(frozen=True)
class Facts:
    """What a recipe may go by once the data are read, None before: the task, how many rows there are to learn from, how
    many inputs, how many of these are numbers, and how many columns come as codes of categories. `metric`: what the net
    is to be judged by, if the user says so.
    """

    task: Task | None = None
    rows: int | None = None
    inputs: int | None = None
    numbers: int | None = None
    coded: int | None = None
    metric: str | None = None

    @classmethod
    def of(cls, data: Dataset) -> Facts:
        """Those of data that are read."""
        encoder = data.encoder
        rows, coded = len(data.parts["train"]), len(encoder.levels)
        return cls(data.target.task, rows, encoder.n_in, encoder.numbers, coded)


NOTHING = Facts()
"""Before the data are read."""

FEW_NUMBERS = 256
"""Up to so many numbers have embeddings, where the whole of RealMLP is not asked for: with more, the first layer costs
more than all others, and its weights fill the memory."""

BY_PROBABILITY = ("loss", "log_loss", "roc_auc", "ece")
"""Metrics that ask how probable and not which: smoothed labels spoil them."""


def plain(facts: Facts) -> dict[str, Any]:
    """The defaults of the keys themselves."""
    return {}


def realmlp(facts: Facts, epochs: int = 256, waves: bool = True) -> dict[str, Any]:
    """RealMLP with its tuned defaults (Holzmüller, Grinsztajn and Steinwart 2024, arXiv 2407.04491, "TD").

    `waves`: whether each number also comes as waves of itself, by the layer pbld.
    """
    kind = Target if facts.task is None else TASKS[facts.task]
    numbers, classes = issubclass(kind, Numbers), issubclass(kind, Classes)
    metric = facts.metric or ("rmse" if numbers else "accuracy")
    smoothed = classes and metric not in BY_PROBABILITY
    return {
        "preprocess": {
            "numeric": "robust",
            "categorical": "signs" if facts.coded == 0 else {"name": "codes", "above": 8, "few": "signs"},
            "clamp": facts.task is None or numbers,  # of other targets it is not asked
        },
        "network": {
            "layers": [
                *([{"name": "embedding", "size": 8}] if facts.coded != 0 else []),
                *([{"name": "pbld"}] if waves else []),
                {"name": "scale", "lr": 6.0},
                *[256] * 3,
            ],
            "activation": {"name": "parametric", "activation": "mish" if numbers else "selu", "lr": 0.1},
            "dropout": 0.15,
            "init": "lecun_normal",
            "output_init": "lecun_normal",
            "parametrisation": {"name": "ntk", "rescale": True, "bias": "data", "bias_lr": 0.1},
        },
        **({"loss": {"name": "cross_entropy", "label_smoothing": 0.1}} if smoothed else {}),
        "optimizer": {"name": "adamw", "lr": 0.2 if numbers else 0.04, "beta2": 0.95, "weight_decay": 0.02},
        "schedule": "coslog",
        "schedules": {"weight_decay": "flat_cos", "dropout": "flat_cos"},
        "training": {
            "epochs": epochs,
            "batch_size": _batch(facts.rows or 0),
            "early_stopping": {
                "metric": f"val_{metric}",
                "patience": epochs,
                "ties": "last",
            },
        },
    }


def _batch(rows: int) -> int:
    """The size of RealMLP's batches."""
    sizes = ((1_024, 64), (8_192, 128), (30_000, 256), (100_000, 512))
    return next((size for most, size in sizes if rows <= most), 1_024)


def pack(facts: Facts) -> dict[str, Any]:
    """Small nets with rates of their own, of which those predict that are best together (TabPack, 2026); with waves of
    each number, AdamW and an average of its steps instead of Muon, since that is a CPU's."""
    kind = Target if facts.task is None else TASKS[facts.task]
    numbers = issubclass(kind, Numbers)
    size = next((size for rows, size in ((30_000, 256), (100_000, 512)) if (facts.rows or 0) <= rows), 1_024)
    embedded = (facts.numbers or 0) <= FEW_NUMBERS
    return {
        "preprocess": {
            "numeric": {"name": "quantile", "noise": 1e-3},
            "categorical": "signs" if facts.coded == 0 else {"name": "codes", "above": 8, "few": "signs"},
            "clamp": facts.task is None or numbers,  # of other targets it is not asked
        },
        "network": {
            "layers": [
                *([{"name": "embedding", "size": 8}] if facts.coded != 0 else []),
                *([{"name": "pbld", "size": 8, "lr": 1.0}] if embedded else []),
                *[192] * 2,
            ],
        },
        "optimizer": "adamw",
        "average": {"decay": 0.95},
        "ensemble": 8,
        "members": {
            "lr": {"low": 5e-4, "high": 1e-2},
            "weight_decay": {"low": 1e-3, "high": 1.0},
            "dropout": 0.5,
            **({"scale": {"low": 0.03, "high": 1.0}} if embedded else {}),
            "select": 16,
        },
        "training": {
            "epochs": 60,
            "batch_size": size,
            "early_stopping": {"metric": f"val_{facts.metric or 'loss'}", "patience": 10},
        },
    }


def tabm(facts: Facts, members: int = 16) -> dict[str, Any]:
    """One net that says as much as many: TabM-mini with piecewise linear embeddings (Gorishniy et al. 2024)."""
    kind = Target if facts.task is None else TASKS[facts.task]
    embedded = (facts.numbers or 0) <= FEW_NUMBERS
    return {
        "preprocess": {
            "numeric": {"name": "quantile", "noise": 1e-3},
            "categorical": "signs" if facts.coded == 0 else {"name": "codes", "above": 8, "few": "signs"},
            "clamp": facts.task is None or issubclass(kind, Numbers),
        },
        "network": {
            "layers": [
                *([{"name": "embedding", "size": 8}] if facts.coded != 0 else []),
                *([{"name": "piecewise", "size": 16}] if embedded else []),
                {"name": "fan_out", "members": members, "factors": "normal" if embedded else "signs"},
                *[256] * 2,
            ],
            "dropout": 0.1,
        },
        "optimizer": {"name": "adamw", "lr": 2e-3, "weight_decay": 3e-4},
        "training": {
            "epochs": 100,
            "batch_size": _batch(facts.rows or 0),
            "clip_norm": 1.0,
            "early_stopping": {"metric": f"val_{facts.metric or 'loss'}", "patience": 16},
        },
    }


RECIPES: dict[str, Recipe] = {"plain": plain, "realmlp": realmlp, "pack": pack, "tabm": tabm}


INPUTS = 1_000
"""So many inputs of the first dense layer make a step about twice as dear."""


@dataclass(frozen=True)
class Quality:
    """A recipe, its length and its ensemble, by what a run costs: the rows that it learns from, over all epochs and
    nets, counted double at a thousand inputs.

    That is `passes` over the rows, but no less than `few` rows or `longest` passes, which small tables have time for,
    and no more than `many` rows. A net has enough of these passes for `steps` steps before there is another; `epochs`
    and `nets` at most.
    """

    epochs: int
    nets: int
    steps: int
    passes: int
    longest: int
    few: int
    many: int
    least: int
    """Epochs on however many rows; also what is said before they are counted, as a run that goes on has no fewer."""
    recipe: str = "realmlp"

    def __call__(self, facts: Facts) -> dict[str, Any]:
        """What stands under a config's own keys."""
        waves = (facts.numbers or 0) <= FEW_NUMBERS
        numbers = facts.task is not None and issubclass(TASKS[facts.task], Numbers)
        honest = {} if numbers else {"calibration": "auto"}
        if facts.rows is None:
            return {**honest, **realmlp(facts, self.least, waves)}
        rows = max(facts.rows, 1)
        inputs = (facts.inputs or 0) + waves * 3 * (facts.numbers or 0)
        passes = min(max(self.passes, min(self.longest, self.few / rows)), self.many / rows) / (1 + inputs / INPUTS)
        enough = max(self.least, min(self.epochs, self.steps * min(1.0, _batch(rows) / rows)))
        nets = max(1, min(self.nets, round(passes / enough)))
        epochs = max(self.least, min(self.epochs, int(passes / nets)))
        return {**({"ensemble": nets} if nets > 1 else {}), **honest, **realmlp(facts, epochs, waves)}


QUALITIES = {
    "fast": Quality(128, 1, steps=2_500, passes=30, longest=128, few=115_000, many=700_000, least=2),
    "default": Quality(256, 6, steps=2_500, passes=150, longest=512, few=800_000, many=4_200_000, least=5),
    "best": Quality(256, 8, steps=5_000, passes=140, longest=2_048, few=16_000_000, many=16_000_000, least=12),
}


def defaults(recipe: str | None, quality: str | None, facts: Facts) -> dict[str, Any]:
    """What stands under a config's own keys, of which these may be two; a recipe that is asked for is taken as it is,
    unless the quality chooses the same."""
    chosen = None if quality is None else QUALITIES[quality]
    if chosen is not None and recipe in (None, chosen.recipe):
        return {"recipe": chosen.recipe, **chosen(facts)}
    return RECIPES[recipe or "plain"](facts)


def over(defaults: Any, given: Any) -> Any:
    """`given` where it says something, else `defaults`; of mappings key by key, unless `given` has another name."""
    if not isinstance(defaults, Mapping) or not isinstance(given, Mapping):
        return given
    if "name" in defaults and given.get("name", defaults["name"]) != defaults["name"]:
        return given
    both = {**defaults, **given}
    return {key: over(defaults[key], given[key]) if key in defaults and key in given else both[key] for key in both}
