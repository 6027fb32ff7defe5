"""fcnet from Python: what the commands themselves call."""

from __future__ import annotations

import contextlib
import io
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from fcnet import config as configs
from fcnet import data as tables
from fcnet import extras, files
from fcnet.backends.base import joined
from fcnet.backends.ops import Array
from fcnet.config.schema import Config
from fcnet.data import Tally
from fcnet.data.ahead import ahead
from fcnet.data.numbers import grammar
from fcnet.data.options import Data
from fcnet.data.readers import Request, reader
from fcnet.errors import CheckpointError, DataError, FcnetError, FcnetWarning, Problem, UsageError
from fcnet.nn.rows import Rows
from fcnet.records import dataclass
from fcnet.reports import summary
from fcnet.reports.text import count, figures
from fcnet.runs import folder, origin
from fcnet.runs.checkpoint import peek
from fcnet.runs.importance import importance
from fcnet.runs.model import Predictor
from fcnet.runs.predictions import PARQUET, Form, writing
from fcnet.runs.session import Stop
from fcnet.runs.session import training as session
from fcnet.training.events import Epoch, Event, Finished, Notice, Progress
from fcnet.training.scoring import weighted_by

REPORT = "report.html"


@dataclass(frozen=True)
class Run:
    """A complete training run: its folder, the scores that metrics.json holds, and what was noticed on the way."""

    path: Path
    metrics: Mapping[str, Any]
    notices: tuple[str, ...] = ()

    @property
    def model(self) -> Model:
        """The best net of the run."""
        return _loaded(self.path)

    def __repr__(self) -> str:
        part = next(part for part in reversed(summary.PARTS) if self.metrics.get(part))
        scores = ", ".join(f"{name} {figures([v])[0]}" for name, v in [*_scores(self.metrics[part]).items()][:3])
        said = f", {count(len(self.notices), 'notice')}" if self.notices else ""
        return f"Run({str(self.path)!r}, epoch {self.metrics['best_epoch']} is best, {part} {scores}{said})"

    def _repr_html_(self) -> str:
        """The scores by part as a table, for notebooks."""
        parts = {part: _scores(self.metrics[part]) for part in summary.PARTS if self.metrics.get(part)}
        names = dict.fromkeys(name for scores in parts.values() for name in scores)
        rows = [(name, *figures([scores.get(name) for scores in parts.values()])) for name in names]
        return _table(f"{self.path}, epoch {self.metrics['best_epoch']}", ("", *parts), rows)


class Model:
    """A trained net. `predict` takes what `train` took: a file, a pandas or polars frame, arrays."""

    def __init__(self, net: Predictor) -> None:
        self._net = net
        self.header = net.header
        self.classes = net.target.classes

    def __repr__(self) -> str:
        about = self._about()
        return f"Model({about['checkpoint']!r}, {about['predicts']}, {about['net']})"

    def _repr_html_(self) -> str:
        """What it is as a table, for notebooks."""
        about = self._about()
        return _table(about.pop("checkpoint"), (), about.items())

    def _about(self) -> dict[str, str]:
        net = self._net
        columns = ", ".join(net.encoder.columns[:10]) + (", …" if len(net.encoder.columns) > 10 else "")
        return {
            "checkpoint": str(net.path),
            "predicts": summary.outputs(net.target.task, net.target.names, len(self.classes or ())),
            "net": summary.net(*net.network.outline),
            "from": f"{count(len(net.encoder.columns), 'column')} ({columns})",
            "trained": f"{self.header.get('name')}, epoch {self.header.get('epoch')}",
        }

    def predict(self, data: object) -> Array:
        """Labels (n,) for classes, 0/1 (n, L) for several labels, numbers (n,) or (n, n_out) for regression.

        Warns with FcnetWarning of what training has not seen, as `predict_proba` does. Any number of threads may call.
        """
        decided, notices = each(self._net, data, self._net.target.decide)
        _warn(notices)
        return decided[:, 0] if decided.ndim == 2 and decided.shape[1] == 1 else decided

    def predict_proba(self, data: object) -> Array:
        """Probabilities (n, K) in the order of `classes`, or (n, L) for several labels; UsageError for regression."""
        if not self._net.target.shares:
            raise UsageError("a regression has no probabilities; use predict", file=str(self._net.path))
        p, notices = each(self._net, data, np.asarray)
        _warn(notices)
        return p

    def predict_columns(self, data: object, coverage: float | None = None) -> dict[str, Array]:
        """All that `fcnet predict` writes of the rows, each column (n,) by its name: quantiles and deviations too.

        With a `coverage` such as 0.9 also the labels (`set`, joined by |) or the ends (`low`, `high`) of what holds the
        truth with that chance; UsageError where the checkpoint cannot say it.
        """
        columns, notices = self.columns(data, coverage=coverage)
        _warn(notices)
        return {name: np.asarray(column) for name, column in columns.items()}

    @property
    def heading(self) -> list[str]:
        """The names of the columns that `predict_columns` gives."""
        return self._form().header()

    def columns(
        self, data: object, shown: str | None = None, *, coverage: float | None = None
    ) -> tuple[dict[str, Any], list[str]]:
        """What `predict_columns` gives, labels as lists, and its notices; `shown` is what errors call the data."""
        covering, form = self._net.covering(coverage), self._form(covering=coverage is not None)
        p, notices = each(self._net, data, np.asarray, shown)
        columns = form.columns(self._net.target.decide(p), p, covering(p))
        return dict(zip(form.header(), columns, strict=True)), notices

    def _form(self, *, covering: bool = False) -> Form:
        return Form.of(self._net.head, (), self._net.config.dtype, covering=covering)

    def evaluate(self, data: object = None, split: str | None = None, *, importance: bool = False) -> dict[str, Any]:
        """Loss and metrics on `data`, or on a part of the data that it was trained on; its `notices` are warned of.

        `importance`: also what the first metric loses when a column is shuffled, for every column.
        """
        scored = _evaluate(self._net, data, split, strict=False, important=importance)
        _warn(scored["notices"])
        return scored


def each(net: Predictor, data: object, of: Callable[[Array], Any], shown: str | None = None) -> tuple[Array, list[str]]:
    """`of` the probabilities of all rows, found for a few of them at a time, and notices."""
    source = Path(data) if isinstance(data, str) else data
    outputs, tally = net.head.width, Tally()
    rows = tables.stream(source, net.config.data, net.encoder, net.target, tally, outputs=outputs, shown=shown)
    found = [np.asarray(of(net.probabilities(inputs))) for inputs, _ in rows]
    if not found:
        found = [np.asarray(of(net.probabilities(net.encoder.rows(0))))]
    return joined(found), tally.notices(usual=False)


def training(
    config: Config,
    *,
    data: object = None,
    overwrite: bool = False,
    resume: bool | Path | None = None,
    strict: bool = False,
    stop: Stop = lambda: None,
    began: float | None = None,
) -> Iterator[Event]:
    """Train as the config says and yield what happens (see `fcnet.runs.session.training`), then write the page that
    `report` asks for. The run is complete before, so that what its page lacks is a notice.
    """
    events = session(config, data=data, overwrite=overwrite, resume=resume, strict=strict, stop=stop, began=began)
    with contextlib.closing(cast("Generator[Event]", events)):
        for event in events:
            if isinstance(event, Finished) and config.report:
                try:
                    told = report(event.run, data=data)["notices"]
                except FcnetError as error:
                    told = [f"{event.run / REPORT} was not written: {error.problems[0]}"]
                yield from map(Notice, told)
            yield event


def train(
    config: str | Path | Mapping[str, Any] | Config,
    data: object = None,
    *,
    overrides: Sequence[str] = (),
    overwrite: bool = False,
    resume: bool | str | Path | None = None,
    strict: bool = False,
    progress: bool = False,
) -> Run:
    """Train as the config (a path, or a mapping of the same form) says.

    `data`, instead of the file data.train: a pandas or polars frame, (X, y), or arrays by name. `resume`: True for the
    newest run of that name, or a run folder. `progress` shows a bar on stderr. What was noticed is in the run's
    `notices`. Raises FcnetError.
    """
    if isinstance(config, Mapping):
        config = configs.from_mapping(config, overrides, needs_data=data is None)
    elif not isinstance(config, Config):
        config = configs.load(config, overrides, needs_data=data is None)
    elif overrides:
        raise UsageError("a Config is complete; give overrides with a path or a mapping")
    if isinstance(data, str | Path):
        raise UsageError("data is a frame or arrays; a file is named in the config, as data.train")
    if isinstance(resume, str):
        resume = Path(resume)
    notices: list[str] = []
    with contextlib.closing(_EpochBar()) as bar:
        for event in training(config, data=data, overwrite=overwrite, resume=resume, strict=strict):
            if progress:
                bar.show(event)
            if isinstance(event, Notice):
                notices.append(event.text)
            elif isinstance(event, Finished):
                return Run(event.run, event.summary, tuple(notices))
    raise AssertionError("training ended without its last event")


def load(path: str | Path) -> Model:
    """The net of a checkpoint, or of a run folder's best.npz."""
    return _loaded(Path(path))


def _loaded(path: Path) -> Model:
    model = Model(Predictor.read(folder.resolve(path)))
    _warn(extras.notices(), up=1)
    return model


def _warn(notices: Sequence[str], up: int = 0) -> None:
    """Warn of each, at the line that called what calls this; `up` more calls lie between."""
    for text in notices:
        warnings.warn(text, FcnetWarning, stacklevel=3 + up)


def _scores(part: Mapping[str, Any]) -> dict[str, float | None]:
    """The loss and the metrics of a part of metrics.json."""
    metrics = {name: value["value"] for name, value in part.items() if isinstance(value, Mapping)}
    return {"loss": part["loss"], **metrics}


def _table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in HTML."""
    import html

    lines = [("th", head), *(("td", row) for row in rows)]
    cells = ("".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row) for tag, row in lines if row)
    return f"<table><caption>{html.escape(caption)}</caption>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"


class _EpochBar:
    """A bar on stderr for the epochs of a training, from its first event on."""

    def __init__(self) -> None:
        self._bar: Any = None

    def show(self, event: Event) -> None:
        """Move on."""
        if not isinstance(event, Progress | Epoch):
            return
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(total=event.epochs, unit="epoch", file=sys.stderr)
        if isinstance(event, Epoch):
            values = {"loss": event.train_loss, **{f"val {name}": value for name, value in event.val.items()}}
            told = ", ".join(f"{name} {figures([value])[0]}" for name, value in [*values.items()][:3])
            self._bar.set_postfix_str(told, refresh=False)
            self._bar.update(event.epoch - self._bar.n)

    def close(self) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.close()


def evaluate(
    checkpoint: Path | None,
    data: object = None,
    split: str | None = None,
    strict: bool = False,
    *,
    importance: bool = False,
) -> dict[str, Any]:
    """Loss and metrics of a checkpoint (the newest complete run's by default) on one part, and what it was.

    `importance`: also what the first metric loses when a column is shuffled, for every column.
    """
    net = Predictor.read(folder.resolve(checkpoint))
    try:
        scored = _evaluate(net, data, split, strict, important=importance)
    except DataError as error:
        if checkpoint is not None or not isinstance(data, str | Path):
            raise
        raise _fitting(error, net, Path(data), str(data), targets=True) from None
    if checkpoint is None:
        scored["notices"] = [_newest(net), *scored["notices"]]
    return scored


def _evaluate(net: Predictor, data: object, split: str | None, strict: bool, *, important: bool) -> dict[str, Any]:
    source = Path(data) if isinstance(data, str) else data
    guess = np.asarray(net.header["guess"], dtype=np.float64)
    if net.target.class_weights is not None and "guess_weighted_by" not in net.header:
        guess = _unweighted(guess, net.target.class_weights)
    if split not in (None, *summary.PARTS):
        raise UsageError(f'split: there is no part "{split}"; write {", ".join(summary.PARTS)}')
    if source is not None and split is not None:
        raise UsageError(f"--split {split} is a part of the training's data, and --data another table: give one")
    folds = None
    if source is not None:
        loaded = tables.score(source, net.config.data, net.encoder, net.target, strict=strict)
        part, shown = "test", str(files.near(source)) if isinstance(source, Path) else "data"
    elif net.config.cv is not None and (split or ("test" if _tested(net) else "validation")) == "validation":
        if important:
            why = "importance goes by rows that no net has learnt from, and the run has no test part"
            raise UsageError(f"--importance: {why}; give some with --data")
        folds, file = _own_folds(net)
        loaded, part, shown = folds.whole, "validation", str(file)
    else:
        loaded, part, shown = _own_data(net, split)
    if folds is None:
        scores, rows = net.scores(loaded, part, guess), len(loaded.parts[part])
    else:  # each row by the nets that have not seen it
        scores, rows = net.scores_out_of_fold(folds, guess)
    return {
        "name": net.header["name"],
        "checkpoint": str(net.path),
        "epoch": net.header["epoch"],
        "part": part,
        "rows": rows,
        "data": shown,
        "notices": [*(loaded.notices if source is not None else ()), *extras.notices()],
        **weighted_by(loaded),
        **scores,
        **({"importance": importance(net, loaded, part)} if important else {}),
    }


def _tested(net: Predictor) -> bool:
    """Whether the run has a test part."""
    return origin.parts(net.header)["test"].rows > 0


def _own_folds(net: Predictor) -> tuple[tables.Folded, Path]:
    """The folds of a run as they were dealt out, found by hash, and the file; see `_own_data`."""
    cv = net.config.cv
    assert cv is not None
    assert not isinstance(cv, int)
    section, shas, found = _own_files(net)
    learnt = "numbers" if isinstance(net.config.loss, str) else net.config.loss.learns
    order = [feature.name for feature in net.encoder.features]
    about: dict[str, Any] = {"dtype": net.config.dtype, "learnt": learnt, "order": order}
    folds = tables.folded(section, net.config.preprocess, cv, teacher=False, **about)
    whole, parts = folds.whole, origin.parts(net.header)
    if [file.sha256 for file in whole.files] != shas or whole.part_hashes["train"] != parts["train"].sha256:
        raise DataError("the rows are not those of the training; name a file with --data", file=section.train)
    return folds, found["train"]


def _unweighted(guess: Array, class_weights: Array) -> Array:
    """The shares of the classes without the class weights that checkpoints of fcnet 0.1 multiplied them by."""
    shares = np.divide(guess, class_weights, out=np.zeros_like(guess), where=class_weights > 0)
    return np.asarray(shares / shares.sum()) if shares.sum() > 0 else guess


def _own_data(net: Predictor, split: str | None) -> tuple[tables.Dataset, str, str]:
    """The data that the net was trained on, found by hash, and which part to score."""
    parts = origin.parts(net.header)
    part = split or next((name for name in ("test", "validation") if parts[name].rows), "train")
    if not parts[part].rows:
        there = ", ".join(name for name in parts if parts[name].rows)
        raise DataError(f"the run had no {part} part, only {there}; choose --split, or name a file with --data")
    section, shas, found = _own_files(net)
    about: dict[str, Any] = {"dtype": net.config.dtype, "fitted": (net.encoder, net.target), "teacher": False}
    loaded = tables.load(section, net.config.preprocess, **about)
    if net.header.get("refit"):
        loaded = tables.together(loaded)
    changed = [file.sha256 for file in loaded.files] != shas
    if changed or loaded.part_hashes[part] != parts[part].sha256:
        raise DataError(
            f"the rows of {part} are not those of the training; name a file with --data", file=section.train
        )
    return loaded, part, str(found.get(part, found["train"]))


def _own_files(net: Predictor) -> tuple[Data, list[str], dict[str, Path]]:
    """The section of the config with the files that the net was trained on, their hashes, and where they are."""
    wanted = origin.origins(net.header, net.path)
    if not wanted:
        raise DataError("the net was trained on data from memory; name a file with --data", file=str(net.path))
    section = net.config.data
    needed = ["train", *(role for role in ("validation", "test") if isinstance(getattr(section, role), str))]
    if [entry.role for entry in wanted] != needed:
        raise CheckpointError("its header does not record the data files that its config names", file=str(net.path))
    found = {role: files.near(path.resolve()) for role, path in origin.find(wanted, net.path).items()}
    paths: Mapping[str, Any] = {role: str(path) for role, path in found.items()}
    section = replace(section, **paths)
    return section, [entry.sha256 for entry in wanted], found


def _inputs(net: Predictor) -> list[Path]:
    """The files that a page about a run is made of: its own, and those of its data that are there."""
    found = [net.path, *(net.path.parent / name for name in folder.READ)]
    with contextlib.suppress(FcnetError):
        found += _own_files(net)[2].values()
    return found


def page(run: Path | None = None, data: object = None) -> tuple[str, dict[str, Any]]:
    """The page of a run (the newest complete one by default), and of which checkpoint it is.

    `data`: what it was trained on, where that came from memory. Without the rows the page does without what needs them.
    """
    from fcnet.reports import report as reports  # as below: for those who read pages
    from fcnet.reports import report_page

    net = Predictor.read(folder.resolve(run))
    notices = [_newest(net)] if run is None else []
    section, loaded, folds = net.config.data, None, None
    lacking: tuple[str, ...] = ()
    try:
        if data is None:
            section = _own_files(net)[0]
            folds = None if net.config.cv is None or _tested(net) else _own_folds(net)[0]
            loaded = _own_data(net, None)[0]
        else:
            about: dict[str, Any] = {"fitted": (net.encoder, net.target), "teacher": False}
            loaded = tables.load(section, net.config.preprocess, dtype=net.config.dtype, data=data, **about)
    except FcnetError as error:
        lacking = (f"the page does without what needs the rows: {error.problems[0]}",)
    found = reports.gather(net, loaded, section, data, lacking, folds)
    return report_page.page(found), {"checkpoint": str(net.path), "notices": [*notices, *lacking]}


def report(run: Path | None = None, output: Path | None = None, data: object = None) -> dict[str, Any]:
    """Write the page of a run into its folder, or to `output`; what was done. See `page`."""
    checkpoint = folder.resolve(run)
    inputs = _inputs(Predictor.read(checkpoint)) if output else [checkpoint]
    replaced = files.check_output(output, inputs) if output else []
    text, done = page(run, data)
    path = output or checkpoint.parent / REPORT
    files.write_file(path, text.encode(), inputs)
    return {"report": str(files.near(path.resolve())), **done, "notices": [*replaced, *done["notices"]]}


def compare(runs: Sequence[Path], output: Path | None = None) -> dict[str, Any]:
    """Complete runs side by side, as `fcnet compare --json` prints it; a page is written to `output` where given.

    Each is tested against the first where the scores of all were computed on the same rows, and these are there.
    """
    from fcnet.reports import comparison, comparison_page, listing
    from fcnet.reports import report as reports

    compared, refitted = [], list[str]()
    for run in runs:
        net = Predictor.read(folder.resolve(run))
        scores = listing.summary_of(net.path.parent)
        if not {"best_epoch", "epochs", "train"} <= scores.keys():
            which = "its metrics.json is garbled" if folder.is_complete(net.path.parent) else "it has no metrics.json"
            raise CheckpointError(f"the run is not complete: {which}", file=str(run))
        if scores.get("refit") and net.header.get("refit"):  # the figures are of the net before
            net = Predictor.read(net.path.with_name(folder.VALIDATED))
            refitted.append(f"{run}: what is compared is {folder.VALIDATED}, the net before it was trained once more")
        compared.append(comparison.Compared(run, net, scores, reports.curves_of(net.path.parent)))
    part = comparison.common_part(compared)
    why, found = comparison.unpaired(compared, part), []
    if why is None:
        try:
            judged = [
                reports.judge_out_of_fold(each.net, _own_folds(each.net)[0])
                if part == "validation" and each.net.config.cv is not None
                else reports.judge(each.net, _own_data(each.net, part)[0], part)
                for each in compared
            ]
            if any(not np.array_equal(each.rows, judged[0].rows) for each in judged):
                why = f"their rows of {part} are not the same"
            else:
                found = comparison.differences(compared, judged, part)
        except DataError as error:
            why = f"the rows are not there any more ({error.problems[0]})"
    inputs = [path for each in compared for path in _inputs(each.net)] if output else []
    notices = files.check_output(output, inputs) if output else []
    told = comparison.record(compared, part, why, found, [*refitted, *notices])
    if output:
        files.write_file(output, comparison_page.page(told, compared).encode(), inputs)
    return told


def predict(
    source: str,
    output: Path | None,
    *,
    checkpoint: Path | None = None,
    keep: Sequence[str] = (),
    coverage: float | None = None,
    strict: bool = False,
) -> dict[str, Any]:
    """Predict for every row of a table (- is stdin) into a file (None is stdout), chunk by chunk; what was done.

    `coverage`: the chance with which sets or intervals, which come with it, are to hold the truth.
    """
    net = Predictor.read(folder.resolve(checkpoint))
    tally = Tally(strict)
    target = net.target
    covering = net.covering(coverage)
    form = Form.of(net.head, tuple(keep), net.config.dtype, covering=coverage is not None)
    rows, formulas = 0, Counter[str]()
    path = None if source == "-" else Path(source)
    table: Path | _KeptStart = path or _KeptStart(sys.stdin.buffer)
    shown = "stdin" if path is None else source
    chunks = tables.stream(
        table, net.config.data, net.encoder, target, tally, keep=keep, outputs=len(form.header()), shown=shown
    )
    # Not of stdin: what waits for a silent pipe must be interruptible.
    computed = _predicted(net, chunks if path is None else ahead(chunks))
    predicted = computed if path is None else ahead(computed)
    try:
        inputs = [] if path is None else [path]
        with contextlib.closing(computed), contextlib.closing(predicted), writing(output, form, inputs) as write:
            for p, kept in predicted:
                carried, decided, covered = [kept[name] for name in keep], target.decide(p), covering(p)
                write(carried, decided, p, covered)
                formulas += form.formulas(carried, decided, covered)
                rows += len(p)
                del kept, p, covered
    except DataError as error:
        if checkpoint is not None:
            raise
        again = path or io.BytesIO(table.start if isinstance(table, _KeptStart) else b"")
        raise _fitting(error, net, again, shown, targets=False) from None
    notices = [] if checkpoint is not None else [_newest(net)]
    exact = output is not None and output.suffix.lower() == PARQUET
    marked = [] if exact else [_marked(name, n) for name, n in formulas.items()]
    return {
        "checkpoint": str(net.path),
        "rows": rows,
        "notices": [*notices, *tally.notices(), *marked, *extras.notices()],
    }


Kept = Mapping[str, Sequence[str]]


def _predicted(net: Predictor, chunks: Generator[tuple[Rows, Kept]]) -> Generator[tuple[Array, Kept]]:
    """Of chunks of a table what the net predicts."""
    with contextlib.closing(chunks):
        for inputs, kept in chunks:
            yield net.probabilities(inputs), kept


def _marked(column: str, n: int) -> str:
    cells = "1 cell" if n == 1 else f"{n:,} cells"
    verb = "starts" if n == 1 else "start"
    return f'{cells} of "{column}" {verb} like a formula and got an apostrophe; write .parquet for the exact text'


class _KeptStart:
    """A stream whose first bytes are kept, so that its header can be looked at again."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.start = b""

    def read(self, size: int = -1) -> bytes:
        """The next bytes, at most `size`; b"" at the end."""
        piece = self._file.read(size)
        if len(self.start) < 1 << 20:
            self.start += piece
        return piece


def _newest(net: Predictor) -> str:
    return f"the newest complete run is {net.path.parent}"


def _fitting(error: DataError, net: Predictor, table: Path | BinaryIO, shown: str, *, targets: bool) -> DataError:
    """The error of a table whose columns do not fit the newest run, with that run and those that they do fit.

    The error itself where the columns fit, and something else is wrong.
    """
    names = _columns(net, table, shown)
    if not names or names >= {*net.encoder.columns, *(net.target.names if targets else ())}:
        return error
    fitting = []
    for path in folder.complete():
        with contextlib.suppress(FcnetError, LookupError, TypeError):
            header = peek(path / folder.BEST)
            known = {entry["name"] for entry in header["columns"]["columns"]}
            if names >= known | set(header["target"]["targets"] if targets else ()):
                fitting.append(str(path))
    which = f"these runs do: {', '.join(fitting[:10])}; name one" if fitting else "no run here does"
    text = f"its columns do not fit {net.path.parent}, the newest complete run; {which}"
    return DataError([*error.problems, Problem(text, file=shown)])


def _columns(net: Predictor, table: Path | BinaryIO, shown: str) -> set[str]:
    """The names in the table's header; none where it cannot be read that far."""
    options = net.config.data
    found: set[str] = set()

    def plan(names: tuple[str, ...]) -> Mapping[str, Any]:
        found.update(names)
        return {}

    prefer = None if options.delimiter == "auto" else options.delimiter
    request = Request(table, shown, options, grammar(options, net.encoder.dtype), plan, prefer=prefer)
    with contextlib.suppress(FcnetError):
        next(reader(table).stream(request), None)
    return found


__all__ = ["Model", "Run", "compare", "evaluate", "load", "predict", "report", "train", "training"]
