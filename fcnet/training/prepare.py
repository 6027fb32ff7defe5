"""Everything that comes before a run's first allocation: limits, data, the config without `auto`, the net's shapes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from fcnet import config as configs
from fcnet import data as tables
from fcnet.config.schema import Config
from fcnet.data import Dataset
from fcnet.errors import ConfigError
from fcnet.metrics import Metric, chosen
from fcnet.nn.losses import Loss
from fcnet.nn.network import Network
from fcnet.optim.update import Update
from fcnet.training import build
from fcnet.training.estimate import Estimate, estimate, refuse_layers, refuse_table


@dataclass(frozen=True)
class Prepared:
    """A run as it would begin: the config without any `auto` but the backend's, the data, the metrics, the net."""

    settings: Config
    data: Dataset
    metrics: tuple[Metric, ...]
    loss: Loss
    network: Network
    update: Update

    def estimate(self) -> Estimate:
        """What the run will need of memory and disk."""
        parts = [len(rows) for rows in self.data.parts.values()]
        return estimate(
            self.settings,
            self.network,
            self.update,
            rows=len(self.data.x),
            training_rows=len(self.data.parts["train"]),
            scored_rows=max(parts),
        )


def prepare(
    config: Config,
    threads: int,
    *,
    data: object = None,
    strict: bool = False,
    poll: Callable[[], object] = lambda: None,
) -> Prepared:
    """Read the data and settle the config; `data` stands in for data.train, `poll` is called while reading.

    Raises every FcnetError that a config or its data can have, LimitError for what cannot fit.
    """
    refuse_layers(config)
    if data is None:
        refuse_table(config.data, Path(), config.dtype)
    loaded = tables.load(config.data, config.preprocess, dtype=config.dtype, data=data, strict=strict, poll=poll)
    validated = len(loaded.parts["validation"]) > 0
    stopping = config.training.early_stopping
    if stopping is not None and not validated and stopping != type(config.training)().early_stopping:
        raise ConfigError("needs a validation part, and the split column has none", key="training.early_stopping")
    settings = build.resolve(
        replace(config, data=loaded.resolved), loaded.target.task, len(loaded.parts["train"]), validated, threads
    )
    metrics = chosen(settings.metrics, loaded.target.task)
    settings = replace(settings, metrics=[metric.name for metric in metrics])
    configs.recheck(settings, config.name)
    assert settings.loss != "auto"
    target = loaded.target
    n_out = build.output_width(settings.loss, target.task, len(target.names), len(target.classes or ()))
    network = build.network(settings.network, loaded.encoder.n_in, n_out)
    update = Update(settings.optimizer, network.layout, settings.training.clip_norm)
    return Prepared(settings, loaded, metrics, settings.loss, network, update)
