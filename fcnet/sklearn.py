"""fcnet as scikit-learn estimators: their arguments are the config's keys, what they hold is a plain checkpoint."""

from __future__ import annotations

import contextlib
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Self, cast

import numpy as np

from fcnet import api, extras, files
from fcnet import config as configs
from fcnet.backends.ops import Array
from fcnet.config.docstrings import meanings
from fcnet.config.recipes import over
from fcnet.config.schema import Architecture, Config, Training
from fcnet.data.options import Data, Task
from fcnet.data.typed import is_missing
from fcnet.errors import CheckpointError, ConfigError, DataError, FcnetError, Problem, Stopped, UsageError
from fcnet.optim.rules import Adam
from fcnet.runs import checkpoint, folder
from fcnet.runs.model import Predictor
from fcnet.runs.session import training
from fcnet.training.events import Epoch, Event, Finished, Notice, Progress, Started


def _found() -> ModuleType:
    """scikit-learn, if it is there."""
    import sklearn

    module: ModuleType = sklearn
    return module


if fault := extras.fault("sklearn", _found):
    raise ImportError(f"fcnet.sklearn needs scikit-learn, which {fault.what}; {fault.cure}")

from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_array, column_or_1d
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_is_fitted, validate_data

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks

    CALLBACKS = True
except ImportError:  # before scikit-learn 1.9
    CALLBACKS = False

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Without callbacks."""

    def with_callbacks(method: Any) -> Any:
        """The method itself."""
        return method


EXPECTED_FAILURES = {
    "check_sample_weight_equivalence_on_dense_data": "rows are dealt out to training and validation, shuffled and put "
    "into batches one by one: a row of weight 2 is a row of one batch, and two equal rows may be in two",
}
"""What `sklearn.utils.estimator_checks.check_estimator` is right to find, as its `expected_failed_checks`, and why."""

OWNERS = {"data": Data, "network": Architecture, "optimizer": Adam, "training": Training}
"""The sections of the config of which single keys are arguments."""

HERE = Path("checkpoint")
"""What messages call the checkpoint that an estimator holds."""

OF_FIT = {
    "train": "fit gets the rows",
    "target": "fit gets the targets",
    "task": "the estimator says what is learnt",
    "features": "X has the columns to predict from",
    "weight": "give fit a sample_weight",
}
"""Keys of the section `data` that are no arguments, and what stands for them."""
OF_ONE_TABLE = {*OF_FIT, "split", "exclude"}
"""Keys of that section that are of the rows of one run."""


class InvalidInput(FcnetError, ValueError):
    """Arguments or data that fcnet refuses, as the ValueError that scikit-learn's tools expect."""

    exit_code = DataError.exit_code


def _key(key: str) -> Any:
    """An argument that is the config's key `key`; None leaves it to recipe and defaults."""
    return field(default=None, metadata={"key": key})


def _documented(cls: type) -> Any:
    """The class with what the config says of its arguments, in the form in which scikit-learn's pages find it."""
    lines = [f"{cls.__doc__}", "", "Parameters", "----------"]
    for each in fields(cls):
        section, _, key = each.metadata.get("key", f".{each.name}").rpartition(".")
        said = meanings(cls if "key" not in each.metadata else OWNERS.get(section, Config))[key]
        lines += [f"{each.name} : {each.type}", f"    {said}"]
    cls.__doc__ = "\n".join(lines)
    return cls


@dataclass(repr=False, eq=False, kw_only=True)
class _Estimator(CallbackSupportMixin, BaseEstimator):
    """What both estimators share."""

    quality: str | None = _key("quality")
    recipe: str | None = _key("recipe")
    ensemble: int | None = _key("ensemble")
    members: Mapping[str, Any] | None = _key("members")
    cv: int | Mapping[str, Any] | None = _key("cv")
    layers: Sequence[Any] | None = _key("network.layers")
    activation: str | Mapping[str, Any] | None = _key("network.activation")
    dropout: float | None = _key("network.dropout")
    loss: str | Mapping[str, Any] | None = _key("loss")
    optimizer: str | Mapping[str, Any] | None = _key("optimizer")
    lr: float | None = _key("optimizer.lr")
    weight_decay: float | None = _key("optimizer.weight_decay")
    schedule: str | Mapping[str, Any] | None = _key("schedule")
    epochs: int | None = _key("training.epochs")
    batch_size: int | None = _key("training.batch_size")
    early_stopping: Mapping[str, Any] | bool | None = _key("training.early_stopping")
    budget: str | None = _key("training.budget")
    validation: float | None = _key("data.validation")
    categorical: Sequence[str] | None = _key("data.categorical")
    metrics: Sequence[str] | None = _key("metrics")
    calibration: str | None = _key("calibration")
    average: Mapping[str, Any] | bool | None = _key("average")
    data: Mapping[str, Any] | None = _key("data")
    preprocess: Mapping[str, Any] | None = _key("preprocess")
    network: Mapping[str, Any] | None = _key("network")
    training: Mapping[str, Any] | None = _key("training")
    schedules: Mapping[str, Any] | None = _key("schedules")
    backend: str | None = _key("backend")
    threads: int | None = _key("threads")
    dtype: str | None = _key("dtype")
    random_state: Any = None
    """The config's `seed` and `data.split.seed`; None is 0, so that fits are alike. A RandomState gives one."""
    warm_start: bool = False
    """Begin with the net of the last fit, and understand columns and labels as it does."""

    tasks: ClassVar[tuple[Task, ...]]
    """What it can learn."""
    cells: ClassVar[type | None]
    """The type of the targets' cells; None: as they come."""

    @with_callbacks
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on rows X (n, n_features), a frame or an array, with targets y (n,) or (n, n_outputs).

        `sample_weight` (n,): how much each row counts; a row of weight 0 is as if it were not there. Raises
        InvalidInput for what cannot be learned, other FcnetErrors where the training fails.
        """
        columns = self._columns(X, reset=True)
        names, values = self._outputs(y, columns)
        about: dict[str, Any] = {"features": [*columns]}
        if sample_weight is not None:
            w = _weights(sample_weight, len(values))
            about["weight"] = name = _free("sample_weight", {*columns, *names})
            rows = w > 0
            columns = {key: _those(cells, rows) for key, cells in columns.items()} | {name: w[rows]}
            values = values[rows]
        if len(values) < 2:
            raise InvalidInput("there is 1 sample to learn from; give two or more")
        about["task"] = self._net.target.task if self._warm else self._task(values)
        with self._refusing(), tempfile.TemporaryDirectory(prefix="fcnet-") as place:
            own = {"name": type(self).__name__, "output": str(Path(place, "runs")), "data": about}
            config = configs.from_mapping(over(self._config(), own), needs_data=False)
            told = _Followed(self, X, y, sample_weight)
            given = columns, dict(zip(names, np.atleast_2d(values.T), strict=True))
            warm = checkpoint.parse(self.checkpoint_, HERE) if self._warm else None
            events = cast("Generator[Event]", training(config, data=given, stop=told.stop, warm=warm))
            with contextlib.closing(events):  # also where a callback fails
                self._train(told, events)
        return self

    def _train(self, told: _Followed, events: Iterator[Event]) -> None:
        """Go through the events of a training, and keep the best net."""
        history: dict[str, list[float]] = {}
        self.notices_: list[str] = []
        self.metrics_: Mapping[str, Any] = {}
        try:
            for event in events:
                match event:
                    case Notice(text):
                        self.notices_.append(text)
                    case Started():
                        told.packed, told.folds = event.packed, event.folds
                    case Progress():
                        told.begin(event.epochs)
                    case Epoch():
                        told.begin(event.epochs)
                        scores = {f"val_{name}": value for name, value in event.val.items()}
                        for name, value in {"lr": event.lr, "train_loss": event.train_loss, **scores}.items():
                            history.setdefault(name, []).append(value)
                        told.epoch()
                    case Finished():
                        self.metrics_ = event.summary
        except Stopped as error:  # by training.max_minutes: what was learned until then counts
            self.notices_.append(error.problems[0].text.partition(";")[0])
        self.checkpoint_ = told.packed()
        self.history_, self.loss_curve_ = history, history.get("train_loss", [])
        self.n_iter_ = len(self.loss_curve_)
        self._hold()
        told.end()

    def predict(self, X: Any) -> Array:
        """What is predicted of rows X (n, n_features): (n,), or (n, n_outputs) of several outputs."""
        decided = self._said(X, lambda net: net.target.decide)
        return decided[:, 0] if decided.ndim == 2 and decided.shape[1] == 1 else decided

    @property
    def model_(self) -> api.Model:
        """The net as `fcnet.load` gives it, with `predict_columns` and `evaluate`."""
        check_is_fitted(self, "checkpoint_")
        return api.Model(self._net)

    def save(self, path: str | Path) -> None:
        """Write the net as a checkpoint, for `fcnet predict`, `fcnet.load` and `from_checkpoint`."""
        check_is_fitted(self, "checkpoint_")
        files.write_file(Path(path), self.checkpoint_)

    @classmethod
    def from_checkpoint(cls, path: str | Path) -> Self:
        """The estimator that holds the net of a checkpoint, or of a run folder's best.npz.

        Its arguments are the net's config: a clone of it is trained likewise. Raises CheckpointError.
        """
        path = folder.resolve(Path(path))
        net = Predictor.read(path)
        if net.target.task not in cls.tasks:
            right = next(kind for kind in (FCNetClassifier, FCNetRegressor) if net.target.task in kind.tasks)
            raise CheckpointError(f"it predicts {net.target.cells}; use {right.__name__}", file=str(path))
        config = net.header["config"]
        elsewhere = {key for key in ("validation", "test") if isinstance(config["data"][key], str)}
        data = {key: value for key, value in config["data"].items() if key not in OF_ONE_TABLE | elsewhere}
        arguments = {each.metadata.get("key") for each in fields(cls)} - {"data", "backend", "threads"}
        made = cls(
            **{key: value for key, value in config.items() if key in arguments}, data=data, random_state=config["seed"]
        )
        made.checkpoint_, made.n_iter_ = path.read_bytes(), net.header["epoch"]
        names = config["data"]["features"]
        names = [*net.encoder.columns] if names == "all" else names
        made.n_features_in_ = len(names)
        if names != [f"x{j}" for j in range(len(names))]:
            made.feature_names_in_ = np.array(names, dtype=object)
        made._hold()
        made._recall()
        return made

    @property
    def _warm(self) -> bool:
        """Whether a fit begins with the net of the last one."""
        return self.warm_start and hasattr(self, "checkpoint_")

    def _hold(self) -> None:
        """Make ready what predicts."""
        self._net = Predictor(checkpoint.parse(self.checkpoint_, HERE))

    def _config(self) -> dict[str, Any]:
        """The config that the arguments spell: sections first, and single keys over them. ConfigError."""
        if wrong := [key for key in OF_FIT if key in (self.data or {})]:
            raise ConfigError(Problem(f"it is no argument: {OF_FIT[key]}", key=f"data.{key}") for key in wrong)
        found: dict[str, Any] = {}
        given = {each.metadata["key"]: getattr(self, each.name) for each in fields(self) if "key" in each.metadata}
        for key, value in sorted(given.items(), key=lambda item: "." in item[0]):
            if value is None:
                continue
            section, _, last = key.rpartition(".")
            if isinstance(found.get(section), str):
                found[section] = {"name": found[section]}
            said = {last: None if value is False else value}
            found = over(found, {section: said} if section else said)
        seed = self.random_state
        if isinstance(seed, np.random.RandomState):
            seed = seed.randint(2**31 - 1)
        return found if seed is None else over({"seed": seed, "data": {"split": {"seed": seed}}}, found)

    @contextlib.contextmanager
    def _refusing(self) -> Iterator[None]:
        """Turn what fcnet refuses into InvalidInput, which names arguments in place of the config's keys."""
        names = {each.metadata["key"]: each.name for each in fields(self) if "key" in each.metadata}
        try:
            yield
        except (CheckpointError, ConfigError, DataError, UsageError) as error:
            warm = isinstance(error, CheckpointError)
            raise InvalidInput(
                replace(
                    each, file=type(self).__name__, key="warm_start" if warm else names.get(each.key or "", each.key)
                )
                for each in error.problems
            ) from None

    def _columns(self, X: Any, *, reset: bool) -> dict[str, Any]:
        """The columns of a frame or an array by name: x0, x1, … where they have none, or one that is no text."""
        if hasattr(X, "columns") and hasattr(X, "to_numpy"):
            twice = next((name for name, count in Counter(X.columns).items() if count > 1), None)
            if twice is not None:
                raise InvalidInput(f'X has two columns "{twice}"; rename one')
            columns = [X[name] for name in X.columns]
        else:
            if isinstance(X, list | tuple) and np.asarray(X).dtype.kind == "U":
                X = np.array(X, dtype=object)  # numbers beside texts stay numbers
            X = check_array(X, dtype=None, ensure_all_finite=False, estimator=self)
            columns = [*X.T]
        validate_data(self, X, reset=reset, skip_check_array=True)
        names = getattr(self, "feature_names_in_", [f"x{j}" for j in range(len(columns))])
        return dict(zip(map(str, names), columns, strict=True))

    def _outputs(self, y: Any, columns: Mapping[str, Any]) -> tuple[list[str], Array]:
        """The names of the targets, and their values (n,) or (n, n_outputs), of which none is missing."""
        if y is None:
            raise InvalidInput(f"{type(self).__name__} requires y to be passed, but the target y is None")
        named = [*getattr(y, "columns", [getattr(y, "name", None) or "y"])]
        values = (
            y.to_numpy() if hasattr(y, "to_numpy") else y
        )  # scikit-learn makes floats of pandas's Int64 and boolean
        values = check_array(values, ensure_2d=False, dtype=self.cells, ensure_all_finite=False, input_name="y")
        if values.ndim == 2 and values.shape[1] == 1:
            values = column_or_1d(values, warn=True)
        n = len(next(iter(columns.values())))
        if len(values) != n:
            raise InvalidInput(f"X has {n:,} rows and y {len(values):,}; both must have as many rows")
        if values.dtype.kind == "f":
            wrong = ~np.isfinite(values)
        else:
            wrong = np.array([is_missing(cell) for cell in values.ravel().tolist()]).reshape(values.shape)
        if wrong.any():
            at = np.argwhere(wrong)[0]
            what = f"{values[tuple(at)]}".replace("nan", "NaN")
            raise InvalidInput(f"row index {at[0]}: y is {what}; fill it in, or leave the row out")
        width = 1 if values.ndim == 1 else values.shape[1]
        if self._warm:
            named = [*self._net.target.names]
            if len(named) != width:
                raise InvalidInput(f"y has {width} columns, and the net to begin with predicts {len(named)}")
            return named, values
        named = named if len(named) == width else [f"y{j}" for j in range(width)]
        return [_free(str(name), columns) for name in named], values

    def _said(self, X: Any, of: Callable[[Predictor], Callable[[Array], Any]]) -> Array:
        """What `of` the net makes of the probabilities of each row."""
        check_is_fitted(self, "checkpoint_")
        columns = self._columns(X, reset=False)
        with self._refusing():
            return api.each(self._net, columns, of(self._net))[0]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name != "_net"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "checkpoint_" in state:
            self._hold()

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = tags.input_tags.string = tags.input_tags.categorical = True
        tags.target_tags.required = True
        return tags


class _Followed:
    """Tells scikit-learn's callbacks of a fit and of each of its epochs; with `stop` one of them ends the training."""

    def __init__(self, net: _Estimator, X: Any, y: Any, sample_weight: Any) -> None:
        self.net, self.about = net, {"X": X, "y": y, "metadata": {"sample_weight": sample_weight}}
        self.packed: Callable[[], bytes] = bytes
        """Gives the best net so far."""
        self.folds = 1
        self.fit: Any = None
        self.enough = False

    def stop(self) -> int | None:
        """0 where the epoch is to be the last."""
        return 0 if self.enough else None

    def begin(self, epochs: int) -> None:
        """Training has begun, once it is known for how many epochs at most."""
        if CALLBACKS and self.fit is None:
            self.fit = self.net._init_callback_context(max_subtasks=self.folds * epochs)
            self.fit.call_on_fit_task_begin(estimator=self.net, **self.about)

    def epoch(self) -> None:
        """An epoch has ended."""
        if self.fit is None:
            return
        task = self.fit.subcontext(task_name="epoch")
        task.call_on_fit_task_begin(estimator=self.net, **self.about)
        self.enough |= task.call_on_fit_task_end(estimator=self.net, **self.about, reconstruction_attributes=self.now)

    def end(self) -> None:
        """The net is there."""
        if self.fit is not None:
            self.fit.call_on_fit_task_end(estimator=self.net, **self.about, reconstruction_attributes=dict)

    def now(self) -> dict[str, Any]:
        """What makes an estimator one that has learned what is known by now."""
        data = self.packed()
        return {"checkpoint_": data, "_net": Predictor(checkpoint.parse(data, HERE))}


@_documented
@dataclass(repr=False, eq=False, kw_only=True)
class FCNetClassifier(ClassifierMixin, _Estimator):
    """A net that tells classes, or several labels that each are there or not (y of 0 and 1, (n, n_labels))."""

    class_weight: str | Mapping[Any, float] | None = _key("data.class_weight")
    threshold: float | Mapping[str, str] | None = _key("threshold")

    tasks = ("binary", "multiclass", "multilabel")
    cells = None

    def predict(self, X: Any) -> Array:
        """The most probable class of each row (n,), or 0 and 1 for each label (n, n_labels)."""
        decided = super().predict(X)
        if self._net.target.classes is None:
            return decided
        places = {label: i for i, label in enumerate(self._net.target.classes)}  # both are sorted alike
        return np.asarray(self.classes_[[places[label] for label in decided.tolist()]])

    def predict_proba(self, X: Any) -> Array:
        """The probability of each of `classes_` (n, n_classes), or of each label (n, n_labels)."""
        return self._said(X, lambda net: np.asarray)

    def predict_log_proba(self, X: Any) -> Array:
        """The logarithms of `predict_proba`, −∞ for 0."""
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.predict_proba(X)))

    def _task(self, y: Array) -> Task:
        check_classification_targets(y)
        kind = type_of_target(y)
        if kind == "multilabel-indicator":
            self.classes_: Any = [np.arange(2)] * y.shape[1]
            return "multilabel"
        if y.ndim > 1:
            raise InvalidInput("y has several columns, not all 0 and 1; fit a net for each, with MultiOutputClassifier")
        self.classes_ = np.unique(y)
        if self.classes_.dtype.kind not in "biufOTU":
            raise InvalidInput(
                f"y is of the type {self.classes_.dtype}; give the classes as texts, numbers or booleans"
            )
        if len(self.classes_) < 2:
            raise InvalidInput(f"y has one class, {self.classes_[0]}; a classification needs two classes or more")
        return "binary" if len(self.classes_) == 2 else "multiclass"

    def _recall(self) -> None:
        classes = self._net.target.classes
        self.classes_ = [np.arange(2)] * len(self._net.target.names) if classes is None else np.array(classes)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


@_documented
@dataclass(repr=False, eq=False, kw_only=True)
class FCNetRegressor(RegressorMixin, _Estimator):
    """A net that predicts a number, or several (y (n, n_outputs))."""

    tasks = ("regression",)
    cells = np.float64

    def _task(self, y: Array) -> Task:
        return "regression"

    def _recall(self) -> None:
        pass

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def _weights(given: Any, n: int) -> Array:
    """The weights of n rows (n,) float64; InvalidInput where they are none."""
    w = np.asarray(given, dtype=np.float64)
    w = np.broadcast_to(w, n) if not w.ndim else w
    if w.shape != (n,):
        raise InvalidInput(f"sample_weight has the shape {w.shape}, and X {n:,} rows; give one number for each row")
    wrong = np.flatnonzero(~((w >= 0) & np.isfinite(w)))
    if len(wrong):
        raise InvalidInput(f"row index {wrong[0]}: sample_weight is {w[wrong[0]]:g}; it must be 0 or more")
    if not w.any():
        raise InvalidInput("all weights are zero; give at least two rows a sample_weight above 0")
    return w


def _those(cells: Any, rows: Array) -> Any:
    """Some rows of a column of a frame or an array."""
    return cells.filter(rows) if hasattr(cells, "null_count") else cells[rows]


def _free(name: str, taken: Collection[str]) -> str:
    """The name, or one like it that is not taken."""
    while name in taken:
        name += " (target)"
    return name
