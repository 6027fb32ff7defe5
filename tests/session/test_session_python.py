"""What Python users see: notices as warnings, names on TAB, short texts and tables of runs and models, a bar."""

from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np
import pytest

import fcnet
from fcnet import extras
from fcnet.config import from_mapping
from fcnet.runs import checkpoint
from fcnet.runs.session import training
from fcnet.training.events import Started

rng = np.random.default_rng(2)
X = np.clip(rng.normal(size=(60, 3)), -0.5, 0.5)  # the ends of the range are in every part
Y = np.where(X[:, 0] > 0, "yes", "no")


def config(name="seen", **data):
    return {"name": name, "data": data, "network": {"layers": [8]}, "training": {"epochs": 3}, "threads": 1}


def columns(x, **more):
    return {"a": x[:, 0], "b": x[:, 1], "kind": np.array(["low", "high", "mid"])[np.arange(len(x)) % 3], **more}


@pytest.fixture
def run(place):
    """A run on two columns of numbers and one of categories."""
    return fcnet.train(config(target="y"), columns(X, y=Y))


def warned(act):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        act()
    return found


@pytest.mark.parametrize("method", ["predict", "predict_proba"])
def test_notices_reach_python(run, method):
    """Unseen levels, values outside the range, missing cells and extra columns are warnings at the caller's line."""
    odd = columns(X, more=X[:, 2])
    odd["a"] = np.where(np.arange(60) == 3, 1e6, X[:, 0])
    odd["b"] = np.where(np.arange(60) == 4, np.nan, X[:, 1])
    odd["kind"] = np.where(np.arange(60) == 5, "new", odd["kind"])
    model = run.model

    found = warned(lambda: getattr(model, method)(odd))

    said = [str(w.message) for w in found]
    assert {w.category for w in found} == {fcnet.FcnetWarning}
    assert {w.filename for w in found} == {__file__}
    for part in ('not used: "more"', 'missing cells: "b" 1', '("new" 1)', 'outside the training range: "a" 1'):
        assert sum(part in text for text in said) == 1, said
    assert len(said) == 4


def test_scoring_warns_too(run):
    """`evaluate` warns of what it returns as notices, once."""
    odd = columns(X, y=Y) | {"kind": np.array(["new"] * 60)}
    model, scored = run.model, []

    found = warned(lambda: scored.append(model.evaluate(odd)))

    assert [str(w.message) for w in found] == scored[0]["notices"]
    assert {w.filename for w in found} == {__file__}
    assert any('"new"' in text for text in scored[0]["notices"])


def test_loading_warns_at_its_caller(run, monkeypatch):
    """What is to be said of a package that is broken is said when a net is loaded, by `load` and by `run.model`."""
    monkeypatch.setattr(extras, "_said", {"numba": "slow"})

    found = warned(lambda: (fcnet.load(run.path), run.model))

    assert [(str(w.message), w.filename) for w in found] == [("slow", __file__)] * 2


def test_rows_as_in_training_warn_of_nothing(run):
    """Rows that training has seen are predicted without a word, and training itself speaks through `notices` alone."""
    model = run.model

    assert warned(lambda: model.predict(columns(X))) == []
    assert warned(lambda: model.predict(columns(X, y=Y))) == []
    assert warned(lambda: fcnet.train(config("again", target="y"), columns(X, y=Y))) == []
    assert run.notices


def test_a_run_is_resumed_by_the_name_of_its_folder(run):
    """A folder may be given as a text: that run goes on, and not the newest of its name."""
    newer = fcnet.train(config(target="y"), columns(X, y=Y))

    assert fcnet.train(config(target="y"), columns(X, y=Y), resume=str(run.path)).path == run.path != newer.path


def test_a_part_that_there_is_not_is_refused_with_those_there_are(run):
    """`evaluate` names the parts, as the command does."""
    with pytest.raises(fcnet.FcnetError, match='split: there is no part "val"; write train, validation, test'):
        run.model.evaluate(split="val")


def test_names_are_offered_before_the_library_is_loaded():
    """`fcnet.` and TAB offers what there is to use, without importing NumPy."""
    code = "import fcnet, sys; print(*dir(fcnet)); print('numpy' in sys.modules)"

    names, loaded = subprocess.check_output([sys.executable, "-c", code], text=True).splitlines()

    assert {"train", "load", "Model", "Run", "FcnetError", "FcnetWarning"} <= set(names.split())
    assert loaded == "False"


def test_every_name_that_is_offered_is_there():
    """All of `__all__` can be had."""
    assert [name for name in fcnet.__all__ if getattr(fcnet, name, None) is None] == []


def test_run_and_model_say_what_they_are(run):
    """A run says where it lies and how good it is, a model what it predicts from what, in one short line."""
    score = run.metrics["validation"]["accuracy"]["value"]

    text, model = repr(run), repr(run.model)

    assert text.startswith(f"Run('{run.path}', epoch {run.metrics['best_epoch']} is best, validation loss ")
    assert f"accuracy {score:.3g}"[:12] in text
    assert len(text) < 160
    assert model == f"Model('{run.path}/best.npz', 2 classes (y), 5 → 8 relu → 1)"


def test_notebooks_get_tables(place):
    """In a notebook a run is a table of scores by part, a model one of what it is; names from files are escaped."""
    frame = columns(X, y=Y)
    frame["<b>"] = frame.pop("b")
    run = fcnet.train(config(target="y"), frame)

    scores, model = run._repr_html_(), run.model._repr_html_()

    assert scores.count("<tr>") == 1 + len(run.metrics["validation"])
    assert "<th>validation</th>" in scores
    assert f"<td>{run.metrics['train']['loss']:.3g}"[:8] in scores
    assert "&lt;b&gt;" in model
    assert "<b>" not in model


def test_a_training_ends_with_the_epoch_where_its_caller_has_enough(place):
    """`stop` that gives 0 makes the epoch the last of a complete run, whose best net is at hand as bytes too."""
    settings = from_mapping(config(), needs_data=False)

    events = [*training(settings, data=(X, Y), stop=lambda: 0)]

    done, started = events[-1], next(event for event in events if isinstance(event, Started))
    assert (done.summary["epochs"], done.why) == (1, "ended by the caller")
    kept, packed = checkpoint.read(done.run / "best.npz"), checkpoint.parse(started.packed(), done.run)
    assert kept.header | {"created": ""} == packed.header | {"created": ""}
    assert all((packed.arrays[name] == array).all() for name, array in kept.arrays.items())


def test_training_shows_a_bar_where_asked(place, capsys):
    """`progress=True` shows a bar on stderr that comes to its end; without it nothing is printed."""
    fcnet.train(config(), (X, Y))
    quiet = capsys.readouterr()
    fcnet.train(config("shown"), (X, Y), progress=True)
    shown = capsys.readouterr()

    assert (quiet.out, quiet.err, shown.out) == ("", "", "")
    assert "3/3" in shown.err
    assert "loss" in shown.err
