"""A teacher's probabilities and numbers are mixed with a row's own target, and what is no such thing is said."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from fcnet import api, config
from fcnet.data.readers import reader
from fcnet.data.source import MemorySource
from fcnet.errors import ConfigError, DataError
from fcnet.runs import checkpoint
from fcnet.training.gradcheck import Trial, check_gradient
from fcnet.training.prepare import prepare

KINDS = ("p", "q", "r")


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A working directory with a table: two features, a target of each task, and what a teacher says of them."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(4)
    shares = rng.dirichlet([1, 1, 1], 60).round(4)
    header = ["a", "b", "kind", "two", "size", "wet", "cold", "tp", "tq", "tr", "t2", "tsize", "p(wet)", "p(cold)"]
    lines = [",".join(header)]
    for i in range(60):
        a, b = rng.normal(size=2)
        own = [f"{a:.3f}", f"{b:.3f}", KINDS[i % 3], ("no", "yes")[i % 2], f"{10 + 3 * a:.3f}", i % 2, i % 5 % 2]
        said = [*(f"{share:.4f}" for share in shares[i]), f"{rng.random():.4f}", f"{10 + 2 * a:.3f}"]
        lines.append(",".join(map(str, [*own, *said, f"{rng.random():.3f}", f"{rng.random():.3f}"])))
    (tmp_path / "table.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def settings(target="kind", teacher=("tp", "tq", "tr"), *, weight=0.25, **more):
    data = {"train": "table.csv", "target": target, "teacher": list(teacher), "features": ["a", "b"]}
    data |= {"teacher_weight": weight, **more.pop("data", {})}
    mapping = {"name": "taught", "data": data, "network": {"layers": [5]}, "backend": "numpy", "threads": 1, **more}
    return config.from_mapping(mapping)


def prepared(*arguments, **more):
    return prepare(settings(*arguments, **more), 1)


def cells(*names):
    with Path("table.csv").open() as file:
        rows = [*csv.DictReader(file)]
    return [[row[name] for name in names] for row in rows]


def learnt(of, dtype=np.float64):
    y, table = of.targets(dtype)
    out = np.zeros((len(y), of.head.columns))
    MemorySource(of.data.inputs, y, one_hot=table, shuffle=False).fill({"x": np.zeros_like(of.data.x), "y": out}, 0, 0)
    return out


def test_classes_are_learnt_as_a_mixture_of_label_and_probabilities():
    """With weight ¼ a target is ¾ of the one-hot row and ¼ of what the teacher says."""
    own = np.array([[kind == each for each in KINDS] for (kind,) in cells("kind")])
    said = np.array(cells("tp", "tq", "tr"), dtype=float)

    found = learnt(prepared())

    np.testing.assert_allclose(found, 0.75 * own + 0.25 * said / said.sum(axis=1, keepdims=True), rtol=1e-6)


@pytest.mark.parametrize("loss", ["binary_cross_entropy", "cross_entropy"])
def test_of_two_classes_the_probability_of_the_second_will_do(loss):
    """One column is the probability of the second label, for a loss of one output and for one of two."""
    own = np.array([two == "yes" for (two,) in cells("two")])
    said = np.array(cells("t2"), dtype=float)[:, 0]

    found = learnt(prepared("two", ["t2"], loss=loss))

    np.testing.assert_allclose(found[:, -1], 0.75 * own + 0.25 * said, rtol=1e-6)
    if loss == "cross_entropy":
        np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-6)


def test_labels_are_found_by_the_names_of_their_columns():
    """Columns that are called as in a file of predictions belong to the labels in their names, in any order."""
    own, said = (np.array(cells(*names), dtype=float) for names in (("wet", "cold"), ("p(wet)", "p(cold)")))

    found = learnt(prepared(["wet", "cold"], ["p(cold)", "p(wet)"]))

    np.testing.assert_allclose(found, 0.75 * own + 0.25 * said, rtol=1e-6)


def test_numbers_are_mixed_in_the_units_that_are_learnt():
    """Of a regression the teacher's numbers are in the target's units, and standardised as it is."""
    subject = prepared("size", ["tsize"], weight=1)

    found = learnt(subject)

    np.testing.assert_allclose(subject.data.target.truths(found), np.array(cells("tsize"), dtype=float), rtol=1e-5)


def test_a_row_of_which_nothing_is_said_has_its_own_target():
    """Where all of the teacher's cells are empty, the label stands alone."""
    lines = Path("table.csv").read_text().splitlines()
    fields = lines[3].split(",")
    lines[3] = ",".join([*fields[:7], "", "", "", *fields[10:]])
    Path("table.csv").write_text("\n".join(lines) + "\n")

    found = learnt(prepared())

    np.testing.assert_array_equal(found[2], [0, 0, 1])


@pytest.mark.parametrize(
    ("target", "teacher", "cell", "said"),
    [
        ("kind", ["tp", "tq", "tr"], "1.5", "table.csv:2: 1.5 is no probability"),
        ("kind", ["tp", "tq", "tr"], "0", "table.csv:2: the probabilities add up to"),
        ("kind", ["tp", "tq", "tr"], "", "table.csv:2: some of the teacher's cells are missing"),
        ("two", ["tp"], "-0.5", "table.csv:2: -0.5 is no probability"),
    ],
)
def test_what_is_no_probability_is_told_by_its_line(target, teacher, cell, said):
    """A cell that no model could have said is an error, with the line where it stands."""
    lines = Path("table.csv").read_text().splitlines()
    fields = lines[1].split(",")
    fields[7] = cell
    Path("table.csv").write_text("\n".join([lines[0], ",".join(fields), *lines[2:]]) + "\n")

    with pytest.raises(DataError) as error:
        prepared(target, teacher)

    assert said in str(error.value)


@pytest.mark.parametrize(
    ("teacher", "said"),
    [
        (["tp", "tq"], '2 columns, and 3 are needed: "p(p)", "p(q)", "p(r)", or others in this order'),
        (["tp", "tq", "kind"], '"kind" is the target'),
        (["tp", "tq", "ts"], 'no column "ts"'),
    ],
)
def test_columns_that_cannot_be_meant_are_told(teacher, said):
    """Too few columns, the target itself and columns that are not there are errors of `data.teacher`."""
    with pytest.raises(ConfigError) as error:
        prepared("kind", teacher)

    assert error.value.problems[0].key.startswith("data.teacher")
    assert said in str(error.value)


def test_the_probability_of_the_first_class_is_not_taken_for_that_of_the_second():
    """One column of two classes is that of the second; one whose name says that it is the other's is an error."""
    Path("table.csv").write_text(Path("table.csv").read_text().replace(",t2,", ",p(no),"))

    with pytest.raises(ConfigError, match=r'1 columns, and 2 are needed: "p\(no\)", "p\(yes\)"'):
        prepared("two", ["p(no)"])


def test_columns_of_the_teacher_are_no_features():
    """What the teacher says is not there when the net predicts, so nothing is predicted from it."""
    subject = prepared(data={"features": "all", "exclude": ["t2", "tsize", "p(wet)", "p(cold)"]})

    assert subject.data.encoder.columns == ("a", "b", "two", "size", "wet", "cold")


def run(name="taught", *, resume=None, **more):
    mapping = {
        "name": name,
        "data": {"train": "table.csv", "target": "kind", "features": ["a", "b"], **more.pop("data", {})},
        "network": {"layers": [5]},
        "training": {"epochs": 4, "early_stopping": None},
        "backend": "numpy",
        "threads": 1,
        **more,
    }
    return api.train(mapping, resume=resume)


def test_a_net_learns_from_the_predictions_of_another():
    """The file that `fcnet predict` writes is a teacher; with weight 1 the labels of training rows do not matter."""
    teacher = run("large")
    api.predict("table.csv", Path("said.csv"), checkpoint=teacher.path)
    one = run("one", data={"teacher": "said.csv", "teacher_weight": 1, "validation": 0})
    text = Path("table.csv").read_text()
    Path("table.csv").write_text(text.replace(",p,", ",*,").replace(",q,", ",p,").replace(",*,", ",q,"))

    other = run("other", data={"teacher": "said.csv", "teacher_weight": 1, "validation": 0})

    weights = [checkpoint.read(each.path / "best.npz").arrays["W1"] for each in (one, other)]
    np.testing.assert_array_equal(*weights)
    assert one.metrics["train"] != other.metrics["train"]  # by the labels


def test_predicting_and_scoring_need_no_teacher():
    """Without the teacher's file a net scores its own test part, and it predicts a table without its columns."""
    run(data={"teacher": ["tp", "tq", "tr"], "test": 0.2})
    teacher = run("large")
    api.predict("table.csv", Path("said.csv"), checkpoint=teacher.path)
    taught = run("file", data={"teacher": "said.csv", "test": 0.2})
    Path("said.csv").unlink()
    Path("new.csv").write_text("a,b\n1,2\n")

    scores = api.evaluate(taught.path)
    done = api.predict("new.csv", Path("new.predictions.csv"), checkpoint=taught.path)

    assert scores["part"] == "test"
    assert done["rows"] == 1


def test_folds_hear_a_teacher_once_and_are_judged_without_it(monkeypatch):
    """A file is read before the first fold, whatever becomes of it later; scoring out of fold does not ask for it."""
    api.predict("table.csv", Path("said.csv"), checkpoint=run("large").path)
    read = []
    monkeypatch.setattr("fcnet.data.teacher.reader", lambda path: read.append(path.name) or reader(path))
    taught = run("folds", data={"teacher": "said.csv", "validation": 0}, cv=3)
    Path("said.csv").unlink()

    scores = api.evaluate(taught.path)

    assert read == ["said.csv"]
    assert scores["rows"] == 60


def test_predictions_teach_a_table_that_writes_numbers_otherwise():
    """How a table marks decimals, thousands and missing cells says nothing of a file that `fcnet predict` wrote."""
    cells = "".join(f"{i},5;{i % 7};{'uv'[i % 2]}\n" for i in range(40))
    Path("table.csv").write_text("a;b;kind\n" + cells)
    Path("said.csv").write_text("prediction,p(u),p(v)\n" + "u,1.0,0.0\nv,0.125,0.875\n" * 20)
    spelling = {"decimal": ",", "thousands": ".", "missing": ["1.0"]}

    found = learnt(prepare(settings(teacher="", weight=1, data={"teacher": "said.csv", **spelling}), 1))

    np.testing.assert_array_equal(found[:, 0], [0.0, 0.875] * 20)


def test_an_estimator_that_goes_on_hears_its_teacher():
    """A fit with `warm_start` learns from what the teacher says now, as the first one did."""
    pytest.importorskip("sklearn")
    from fcnet.sklearn import FCNetClassifier

    x = np.array(cells("a", "b", "t2"), dtype=float)
    other = x * [1, 1, -1] + [0, 0, 1]
    data = {"teacher": ["x2"], "teacher_weight": 1.0, "validation": 0}

    def loss(then):
        net = FCNetClassifier(recipe="plain", layers=[4], epochs=1, data=data, warm_start=True)
        return net.fit(x, ["u", "v"] * 30).fit(then, ["u", "v"] * 30).loss_curve_

    assert loss(x) != loss(other)


def test_another_teacher_is_not_gone_on_with():
    """A run whose teacher says other things now is not continued with it."""
    api.predict("table.csv", Path("said.csv"), checkpoint=run("large").path)
    taught = run(data={"teacher": "said.csv"})
    lines = Path("said.csv").read_text().splitlines()
    Path("said.csv").write_text("\n".join([lines[0], lines[2], lines[1], *lines[3:]]) + "\n")

    with pytest.raises(DataError, match="the teacher says other things"):
        run(data={"teacher": "said.csv"}, training={"epochs": 6, "early_stopping": None}, resume=taught.path)


@pytest.mark.parametrize(
    ("rows", "said"), [(59, "it has 59 rows, and table.csv 60"), (0, 'no column "p(p)", "p(q)", "p(r)"')]
)
def test_a_file_that_does_not_fit_is_told(rows, said):
    """A file of another number of rows, or without the columns that are learnt from, is an error that says so."""
    lines = ["prediction,p(p),p(q),p(r)", *["p,1,0,0"] * rows] if rows else ["prediction", *["p"] * 60]
    Path("said.csv").write_text("\n".join(lines) + "\n")

    with pytest.raises(DataError) as error:
        prepare(config.from_mapping({"data": {"train": "table.csv", "target": "kind", "teacher": "said.csv"}}), 1)

    assert said in str(error.value)


def test_a_column_that_is_written_as_a_file_is_told():
    """A text names a file; where it is a column of the table, the message says how to write one."""
    with pytest.raises(ConfigError, match=r'"t2" is a column; write \["t2"\]'):
        prepare(config.from_mapping({"data": {"train": "table.csv", "target": "two", "teacher": "t2"}}), 1)


@pytest.mark.parametrize(
    ("target", "teacher"),
    [("kind", ["tp", "tq", "tr"]), ("two", ["t2"]), ("size", ["tsize"]), (["wet", "cold"], ["p(wet)", "p(cold)"])],
)
def test_the_gradient_of_what_is_taught_is_right(target, teacher):
    """`fcnet check` compares the gradient of the loss by soft targets with finite differences."""
    assert all(check.passed for check in check_gradient(Trial(prepared(target, teacher))))
