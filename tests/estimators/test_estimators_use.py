"""FCNetClassifier and FCNetRegressor in use: tables as they come, scikit-learn's tools, files, threads."""

from __future__ import annotations

import copy
import io
import pickle
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn")

import joblib
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.inspection import permutation_importance
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import NotFittedError

import fcnet
from fcnet.errors import CheckpointError
from fcnet.sklearn import FCNetClassifier, FCNetRegressor, InvalidInput

rng = np.random.default_rng(5)
N = 90
X = rng.normal(size=(N, 3))
KIND = rng.choice(["low", "mid", "high"], N)
Y = np.where(X[:, 0] > 0, "yes", "no")
SMALL = {"layers": [16], "epochs": 20, "lr": 0.02, "threads": 1}


def classifier(**more):
    return FCNetClassifier(**SMALL | more)


def regressor(**more):
    return FCNetRegressor(**SMALL | more)


@pytest.fixture(scope="module")
def fitted():
    """A classifier of two classes."""
    return classifier().fit(X, Y)


@pytest.fixture
def frame():
    """A pandas frame of numbers and texts, some missing, in old types."""
    pandas = pytest.importorskip("pandas")
    holes = np.where(np.arange(N) % 9 == 0, np.nan, X[:, 0])
    texts = np.where(np.arange(N) % 11 == 0, None, KIND)
    return pandas.DataFrame({"size": holes, "kind": texts.astype(object), "whole": rng.integers(0, 9, N)})


def test_a_classifier_learns(fitted):
    """Classes are told with their probabilities, in the order of `classes_`."""
    p = fitted.predict_proba(X)

    assert fitted.score(X, Y) > 0.9
    assert fitted.classes_.tolist() == ["no", "yes"]
    assert p.shape == (N, 2)
    assert (fitted.classes_[p.argmax(axis=1)] == fitted.predict(X)).all()
    assert fitted.n_features_in_ == 3


def test_a_regressor_learns():
    """One number, or several, are predicted in the shape in which they were given."""
    y = np.c_[X[:, 0], X[:, 1] - 3 * X[:, 2]]

    one, two = regressor().fit(X, y[:, 1]), regressor().fit(X, y)

    assert one.predict(X).shape == (N,)
    assert two.predict(X).shape == (N, 2)
    assert one.score(X, y[:, 1]) > 0.8
    assert two.score(X, y) > 0.8


def test_several_labels_at_once():
    """Columns of 0 and 1 are labels that are there or not, each with its probability."""
    y = (X[:, :2] > 0).astype(int)

    model = classifier(epochs=40).fit(X, y)

    assert model.predict(X).tolist() == (model.predict_proba(X) > 0.5).astype(int).tolist()
    assert (model.predict(X) == y).mean() > 0.9
    assert cross_val_score(classifier(epochs=2), X, y, scoring="roc_auc", cv=2).shape == (2,)


@pytest.mark.parametrize("label", [int, float, bool, str, object])
def test_labels_come_back_in_their_type(label):
    """Predictions are labels as they were given, whatever fcnet calls them in a file."""
    y = (X[:, 0] > 0).astype(int).astype(label)

    model = classifier(epochs=2).fit(X, y.astype(str).astype(object) if label is object else y)

    assert model.classes_.dtype.kind == {int: "i", float: "f", bool: "b", str: "U", object: "O"}[label]
    assert set(model.predict(X)) <= set(model.classes_.tolist())


@pytest.mark.parametrize(
    "labels",
    [
        ["9", "10", "100"],
        ["é", "Z", "a"],
        ["b", "B", "ba"],
        ["01", "-1", "0"],
        [-3, 20, 7],
        [0.0, -1.0, 5.0],
        [2**40, 1, 0],
    ],
)
def test_probabilities_are_in_the_order_of_the_classes(labels):
    """Labels are sorted alike here and in the checkpoint, and each column of probabilities has its class."""
    y = np.array(labels)[np.digitize(X[:, 0], [-0.5, 0.5])]

    model = classifier(epochs=40).fit(X, y)

    assert model.model_.classes == tuple(model.classes_.tolist())
    assert (model.classes_[model.predict_proba(X).argmax(axis=1)] == y).mean() > 0.8
    assert model.score(X, y) > 0.8


TYPES = {
    "as they are": lambda frame: frame,
    "pandas's own": lambda frame: frame.convert_dtypes(),
    "declared categories": lambda frame: frame.astype({"kind": "category"}),
    "Arrow": lambda frame: frame.convert_dtypes(dtype_backend="pyarrow"),
}


@pytest.mark.parametrize("types", TYPES)
def test_frames_of_pandas_in_every_type(frame, types):
    """Texts and missing cells are taken as they come, and mean the same in each of pandas's types."""
    if types == "Arrow":
        pytest.importorskip("pyarrow")
    model = classifier(epochs=3).fit(frame, Y)
    table = TYPES[types](frame)

    other = classifier(epochs=3).fit(table, Y)

    assert other.feature_names_in_.tolist() == ["size", "kind", "whole"]
    np.testing.assert_array_equal(other.predict_proba(frame), model.predict_proba(frame))
    np.testing.assert_array_equal(model.predict_proba(table), model.predict_proba(frame))


@pytest.mark.parametrize("types", ["Int64", "boolean", "string", "category"])
def test_targets_of_pandas_types(frame, types):
    """Nullable integers stay integers, and booleans booleans, as labels; one that is missing is named."""
    pandas = pytest.importorskip("pandas")
    labels = {"Int64": [0, 1], "boolean": [False, True]}.get(types, ["a", "b"])
    y = pandas.Series([labels[i] for i in (X[:, 0] > 0).astype(int)], dtype=types, name="label")
    hole = y.copy()
    hole[7] = None

    model = classifier(epochs=2).fit(frame, y)

    assert model.classes_.tolist() == labels
    assert model.model_.header["target"]["targets"] == ["label"]
    with pytest.raises(InvalidInput, match=r"row index 7: y is .*; fill it in"):
        classifier().fit(frame, hole)


@pytest.mark.skipif(find_spec("polars") is None, reason="polars is an extra")
def test_frames_of_polars(frame):
    """A polars frame, with a polars series for target, gives what the pandas frame gives."""
    import polars as pl

    cells = {name: [None if cell != cell else cell for cell in frame[name]] for name in frame.columns}
    table, y = pl.DataFrame(cells), pl.Series("label", Y.tolist())
    w = np.arange(N) % 3

    model, other = (classifier(epochs=3).fit(x, t, sample_weight=w) for x, t in ((frame, Y), (table, y)))

    np.testing.assert_array_equal(model.predict_proba(frame), other.predict_proba(table))
    assert cross_val_score(classifier(epochs=1), table, Y, cv=2).shape == (2,)


def test_lists_keep_numbers_beside_texts():
    """Rows as lists have numbers where numbers stand, and texts where texts stand."""
    rows = [[float(size), kind] for size, kind in zip(X[:, 0], KIND, strict=True)]

    model = classifier(epochs=2).fit(rows, Y.tolist())

    kinds = [column["kind"] for column in model.model_.header["columns"]["columns"]]
    assert kinds == ["number", "category"]


def test_all_columns_are_used(frame):
    """A column that numbers the rows is kept where the caller gave it, as no file's index slips in here."""
    x = np.c_[X[:, 0], np.arange(N)]

    model = classifier(epochs=1).fit(x, Y)

    assert len(model.model_.header["columns"]["columns"]) == 2


def test_a_row_of_weight_zero_is_not_there():
    """Rows of weight 0 change nothing, however they are placed."""
    w = np.where(np.arange(N) % 4 == 0, 0.0, 1.0 + np.arange(N) % 2)

    weighted = classifier(epochs=3).fit(X, Y, sample_weight=w)
    without = classifier(epochs=3).fit(X[w > 0], Y[w > 0], sample_weight=w[w > 0])

    np.testing.assert_array_equal(weighted.predict_proba(X), without.predict_proba(X))
    assert not np.array_equal(weighted.predict_proba(X), classifier(epochs=3).fit(X, Y).predict_proba(X))


def test_class_weights_count():
    """A class of great weight is told more often; labels may be numbers."""
    y = (X[:, 0] + rng.normal(size=N) > 0).astype(int)

    light, heavy = (classifier(class_weight=w).fit(X, y).predict(X).mean() for w in ("none", {1: 50}))

    assert heavy > light


@pytest.mark.parametrize(("labels", "weights"), [(bool, {True: 50, False: 1}), (float, {1.0: 50}), (str, {"1": 50})])
def test_class_weights_go_by_labels_of_any_type(labels, weights):
    """As they stand in y: booleans, fractions and texts alike."""
    y = (X[:, 0] + rng.normal(size=N) > 0).astype(int)

    light, heavy = (classifier(class_weight=w).fit(X, y.astype(labels)).predict(X) for w in (None, weights))

    assert (heavy == labels(1)).sum() > (light == labels(1)).sum()


def test_logarithms_of_probabilities_are_those_of_the_probabilities(fitted):
    """`predict_log_proba`, as pipelines and scikit-learn's own classifiers have it."""
    pipeline = make_pipeline(StandardScaler(), classifier(epochs=2)).fit(X, Y)

    np.testing.assert_allclose(np.exp(fitted.predict_log_proba(X)), fitted.predict_proba(X), rtol=1e-6)
    assert pipeline.predict_log_proba(X).shape == (N, 2)


def test_arguments_are_the_keys_of_the_config():
    """Single keys, whole sections and recipes make the config that the checkpoint then holds."""
    model = FCNetClassifier(
        recipe="realmlp", epochs=2, lr=0.01, optimizer="adam", early_stopping=False, activation="relu", validation=0.2,
        training={"clip_norm": 1.0}, preprocess={"numeric": "quantile"}, random_state=np.random.RandomState(3),
    ).fit(X, Y)  # fmt: skip

    config = model.model_.header["config"]
    assert (config["recipe"], config["schedule"]["name"], config["network"]["activation"]) == (
        "realmlp",
        "coslog",
        "relu",
    )
    assert (config["optimizer"]["name"], config["optimizer"]["lr"]) == ("adam", 0.01)
    assert (config["training"]["epochs"], config["training"]["clip_norm"]) == (2, 1.0)
    assert config["training"]["early_stopping"] is None
    assert config["preprocess"]["numeric"]["name"] == "quantile"
    assert config["seed"] == config["data"]["split"]["seed"] == np.random.RandomState(3).randint(2**31 - 1)


def test_wrong_arguments_are_named():
    """An argument that is wrong is called by its own name, with what is allowed, as a ValueError."""
    with pytest.raises(ValueError, match="FCNetClassifier: epochs: 0, expected a whole number from 1") as seen:
        FCNetClassifier(epochs=0, optimizer="adm").fit(X, Y)

    assert 'FCNetClassifier: optimizer: there is no "adm"; did you mean adam?' in str(seen.value)
    assert isinstance(seen.value, fcnet.FcnetError)


def test_what_fit_gets_is_no_argument():
    """Keys of `data` that say where rows and targets are would be passed over; they are refused instead."""
    with pytest.raises(ValueError, match=r"data.train: it is no argument: fit gets the rows") as seen:
        classifier(data={"weight": "x0", "train": "t.csv", "missing": ["-"]}).fit(X, Y)

    assert "data.weight: it is no argument: give fit a sample_weight" in str(seen.value)
    assert "missing" not in str(seen.value)


def test_arguments_may_be_arrays():
    """Of NumPy, as grids of parameters are made."""
    model = classifier(layers=np.array([4, 3]), epochs=np.int64(2)).fit(X, Y)

    assert model.model_.header["config"]["network"]["layers"][1]["units"] == 3


@pytest.mark.parametrize(
    ("x", "y", "w", "said"),
    [
        (X, Y, -np.ones(N), "row index 0: sample_weight is -1; it must be 0 or more"),
        (X, Y, np.ones(3), r"sample_weight has the shape \(3,\), and X 90 rows"),
        (X, Y[:9], None, "X has 90 rows and y 9"),
        (X, np.stack([Y, KIND], axis=1), None, "fit a net for each, with MultiOutputClassifier"),
        (X, np.full(N, "a"), None, "y has one class, a; a classification needs two classes"),
        (np.where(X > 1, np.inf, X), Y, None, r'row index \d+: column "x\d": inf is infinite'),
        (X, np.array(["2020-01-01", "2020-01-02"], dtype="M8[D]")[np.arange(N) % 2], None, "y is of the type datetime"),
    ],
)
def test_data_that_cannot_be_learned_are_named(x, y, w, said):
    """What is wrong with the rows is said with its place and the cure, as a ValueError."""
    with pytest.raises(ValueError, match=said):
        classifier(epochs=1).fit(x, y, sample_weight=w)


def test_columns_of_one_name_are_refused(frame):
    """Two columns of one name are no table."""
    with pytest.raises(InvalidInput, match='X has two columns "size"; rename one'):
        classifier().fit(frame.rename(columns={"kind": "size"}), Y)


def test_history_and_notices():
    """What every epoch brought, the scores of the best, and what was noticed are kept."""
    model = classifier(epochs=3, early_stopping=False).fit(np.c_[X, np.full(N, np.nan)], Y)

    assert model.n_iter_ == len(model.loss_curve_) == len(model.history_["val_accuracy"]) == 3
    assert model.loss_curve_[2] < model.loss_curve_[0]
    best = model.metrics_["best_epoch"]
    assert model.metrics_["validation"]["accuracy"]["value"] == model.history_["val_accuracy"][best - 1]
    assert any('column "x3" is left out' in text for text in model.notices_)


@pytest.mark.parametrize("ensemble", [1, 3])
def test_a_warm_start_goes_on_from_the_last_fit(ensemble):
    """With `warm_start` a fit begins with the net of the last one, or with its nets, and knows its labels."""
    warm, cold = (classifier(epochs=3, ensemble=ensemble, warm_start=warm).fit(X, Y) for warm in (True, False))
    first = warm.loss_curve_

    again, anew = (net.fit(X[:60], Y[:60]).loss_curve_ for net in (warm, cold))

    assert again[0] < first[2] < anew[0]
    assert warm.fit(X, np.full(N, "yes")).classes_.tolist() == ["no", "yes"]


@pytest.mark.parametrize(
    ("more", "x", "y", "said"),
    [
        ({"layers": [5]}, X, Y, "warm_start: b1 has the shape"),
        ({}, X[:, :2], Y, 'no column "x2", which the net was trained on'),
        ({}, X, np.where(X[:, 0] > 0, "yes", "perhaps"), 'no training row has the label "perhaps"'),
        ({}, X, np.eye(N, 2, dtype=int), "y has 2 columns, and the net to begin with predicts 1"),
    ],
)
def test_a_warm_start_that_cannot_be_is_refused(more, x, y, said):
    """Another net, other columns and other labels need a fit that begins anew."""
    model = classifier(epochs=1, warm_start=True).fit(X, Y).set_params(**more)

    with pytest.raises(InvalidInput, match=said):
        model.fit(x, y)


def test_callbacks_follow_the_epochs():
    """Where scikit-learn has callbacks, they see every epoch with the net as it is then, and may end the training."""
    pytest.importorskip("sklearn.callback")

    class Third:
        def __init__(self):
            self.told, self.scores = [], []

        def setup(self, estimator, context):
            self.told.append("setup")

        def teardown(self, estimator, context):
            self.told.append("teardown")

        def on_fit_task_begin(self, estimator, context, *, X=None):
            self.told.append(f"begin {context.task_name}")

        def on_fit_task_end(self, estimator, context, *, X=None, y=None, fitted_estimator=None):
            self.told.append(f"end {context.task_name}")
            self.scores.append(fitted_estimator.score(X, y))
            return len(self.scores) == 3

    seen = Third()
    model = classifier(lr=0.1).set_callbacks(seen).fit(X, Y)

    assert model.n_iter_ == 3
    assert model.metrics_["best_epoch"] <= 3
    epochs = ["begin epoch", "end epoch"] * 3
    assert seen.told == ["setup", "begin fit", *epochs, "end fit", "teardown"]
    assert seen.scores[-1] == model.score(X, Y) > seen.scores[0] - 0.1


def test_a_time_limit_keeps_what_was_learned():
    """When the minutes are over, the best net until then is there, and a notice says so."""
    model = classifier(epochs=1_000_000, early_stopping=False, training={"max_minutes": 0.005}).fit(X, Y)

    assert model.notices_[-1].startswith("stopped by the time limit")
    assert model.metrics_ == {}
    assert model.predict(X).shape == (N,)


def test_equal_seeds_give_equal_nets():
    """Fits are alike unless `random_state` differs."""
    first, second, third = (classifier(epochs=2, random_state=seed).fit(X, Y).predict_proba(X) for seed in (1, 1, 2))

    assert (first == second).all()
    assert (first != third).any()


@pytest.mark.parametrize("way", ["pickle", "joblib", "skops", "copy"])
def test_a_fitted_estimator_is_kept(fitted, way):
    """What comes back from pickle, joblib, skops and copy predicts bit for bit the same."""
    if way == "pickle":
        back = pickle.loads(pickle.dumps(fitted))
    elif way == "joblib":
        file = io.BytesIO()
        joblib.dump(fitted, file)
        file.seek(0)
        back = joblib.load(file)
    elif way == "skops":
        skops = pytest.importorskip("skops.io")
        back = skops.loads(skops.dumps(fitted), trusted=["fcnet.sklearn.FCNetClassifier"])
    else:
        back = copy.deepcopy(fitted)

    np.testing.assert_array_equal(back.predict_proba(X), fitted.predict_proba(X))
    assert back.checkpoint_ == fitted.checkpoint_


def test_a_net_goes_to_the_command_line_and_back(fitted, tmp_path):
    """What `save` writes is a checkpoint that `fcnet predict` reads, and `from_checkpoint` again."""
    path, table = tmp_path / "net.npz", tmp_path / "rows.csv"
    fitted.save(path)
    np.savetxt(table, X, delimiter=",", header="x0,x1,x2", comments="", fmt="%.17g")

    told = subprocess.run(
        [sys.executable, "-m", "fcnet", "predict", str(table), "--checkpoint", str(path), "-o", "-"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    back = FCNetClassifier.from_checkpoint(path)

    assert [line.split(",")[0] for line in told.stdout.splitlines()[1:]] == fitted.predict(X).tolist()
    np.testing.assert_array_equal(back.predict_proba(X), fitted.predict_proba(X))
    assert back.classes_.tolist() == fitted.classes_.tolist()
    assert back.n_features_in_ == 3
    np.testing.assert_array_equal(clone(back).fit(X, Y).predict_proba(X), fitted.predict_proba(X))


def test_a_run_of_the_command_line_is_taken_up(tmp_path, frame):
    """A checkpoint of `fcnet.train` becomes an estimator with the names of its columns."""
    config = {"network": {"layers": [8]}, "training": {"epochs": 2}, "output": str(tmp_path), "data": {"target": "y"}}
    run = fcnet.train(config, frame.assign(y=X[:, 0]))

    model = FCNetRegressor.from_checkpoint(run.path)

    assert model.feature_names_in_.tolist() == ["size", "kind", "whole"]
    np.testing.assert_array_equal(model.predict(frame), run.model.predict(frame))
    with pytest.raises(CheckpointError, match="it predicts numbers; use FCNetRegressor"):
        FCNetClassifier.from_checkpoint(run.path)


def test_nothing_is_left_behind(tmp_path, monkeypatch):
    """Neither a fit nor one that fails leaves a folder, in the working directory or among temporary files."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "work"))

    classifier(epochs=1).fit(X, Y)
    with pytest.raises(InvalidInput):
        classifier(layers=["none"]).fit(X, Y)

    assert list(work.iterdir()) == []


def test_an_unfitted_estimator_says_so(tmp_path):
    """Before `fit` there is nothing to predict with, to save, or to look at."""
    for act in (
        lambda m: m.predict(X),
        lambda m: m.predict_proba(X),
        lambda m: m.save(tmp_path / "n"),
        lambda m: m.model_,
    ):
        with pytest.raises(NotFittedError):
            act(classifier())


def test_searches_and_scores_in_two_processes(frame):
    """Pipelines, grids, cross-validation, calibration and importance work, side by side in processes too."""
    small = classifier(epochs=2, layers=[4])

    pipe = make_pipeline(StandardScaler(), small).fit(X, Y)
    alone, beside = (cross_val_score(small, frame, Y, cv=2, n_jobs=jobs) for jobs in (1, 2))
    grid = GridSearchCV(small, {"lr": [0.01, 0.1], "layers": [[4], [8, 8]]}, cv=2, n_jobs=2).fit(frame, Y)
    calibrated = CalibratedClassifierCV(small, cv=2, n_jobs=2).fit(frame, Y)
    importance = permutation_importance(grid.best_estimator_, frame, Y, n_repeats=2, n_jobs=2)

    assert set(pipe.predict(X)) <= {"yes", "no"}
    assert alone.tolist() == beside.tolist()
    assert set(grid.best_params_) == {"lr", "layers"}
    assert calibrated.predict_proba(frame).shape == (N, 2)
    assert importance.importances_mean.shape == (3,)


def test_threads_fit_and_predict_side_by_side(fitted):
    """Fits and predictions in several threads give what they give alone."""
    with ThreadPoolExecutor(4) as pool:
        nets = list(pool.map(lambda _: clone(fitted).fit(X, Y), range(4)))
        said = list(pool.map(lambda _: fitted.predict_proba(X), range(8)))

    for p in (*said, *(net.predict_proba(X) for net in nets)):
        np.testing.assert_array_equal(p, fitted.predict_proba(X))


def test_pages_show_what_arguments_mean():
    """The page of an estimator in a notebook says of each argument what the config's reference says."""
    page = FCNetClassifier(epochs=3)._repr_html_()

    assert "epochs" in page
    assert "The largest number of passes over the training rows." in (FCNetClassifier.__doc__ or "")
    assert repr(FCNetClassifier(epochs=3)) == "FCNetClassifier(epochs=3)"


def test_without_scikit_learn_the_message_says_what_to_install():
    """Importing the estimators where scikit-learn is missing says so, with the command that installs it."""
    code = "import sys; sys.modules['sklearn'] = None\nimport fcnet.sklearn"

    done = subprocess.run(
        [sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[2], capture_output=True, text=True
    )

    last = done.stderr.splitlines()[-1]
    assert last == "ImportError: fcnet.sklearn needs scikit-learn, which is not installed; pip install 'fcnet[sklearn]'"
