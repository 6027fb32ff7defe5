"""Tables that are wrong in one way each, given to the commands: the exit code and the place that is named."""

import io
import zipfile

import numpy as np
import pytest
from faults_cases import HEADER, SETTINGS, rows, with_column

PARTS = ("data.split={by: column, column: part}", "data.validation=0", "data.test=0")


@pytest.mark.parametrize(
    ("text", "settings", "said"),
    [
        pytest.param(
            with_column("part", lambda i: "test" if i > 50 else "train").replace(",yes,test", ",maybe,test", 1),
            PARTS,
            'no training row has the label "maybe", only "no", "yes"',
            id="V43-label-only-in-test",
        ),
        pytest.param(with_column("who", lambda i: f"person {i}"), ("--strict",), '"who" is left out', id="V35-strict"),
        pytest.param(with_column("who", lambda i: ""), ("--strict",), '"who" is left out', id="V41-strict"),
        pytest.param(
            "\n".join([HEADER, *rows()]).replace("yes", "no"), (), 'only the label "no"', id="V44-a-single-class"
        ),
        pytest.param("\n".join([HEADER, *rows(2)]), (), "2 rows cannot be split", id="V56-two-rows"),
        pytest.param("\n".join([HEADER, *rows(1)]), (), "1 row cannot be split", id="V56-one-row"),
        pytest.param(
            "\n".join([HEADER, *["1,2,red,"] * 20]),
            ("data.missing_target=drop",),
            'no row has the target "label"',
            id="V56-none-left",
        ),
        pytest.param("\n".join([HEADER, "1,2,red,", *rows()]), (), "t.csv:2: the target", id="V32-missing-target"),
        pytest.param(with_column("w", lambda i: -1), ("data.weight=w",), "must be 0 or more", id="negative-weights"),
        pytest.param(with_column("w", lambda i: 0), ("data.weight=w",), "all 0", id="no-weight-at-all"),
        pytest.param(
            "\n".join([HEADER, "x\x1b]0;pwned\x07,2,red,yes", *rows()]),
            (),
            r'"x\x1b]0;pwned\x07" is not a number',
            id="V58-escape-codes-in-a-cell",
        ),
        pytest.param(
            "\n".join(["a\x1b[31m,b,colour,label", "x,2,red,yes", *rows()]),
            (),
            r'column "a\x1b[31m"',
            id="V58-escape-codes-in-the-header",
        ),
    ],
)
def test_wrong_tables_are_4_and_leave_no_run(call, tmp_path, text, settings, said):
    """Whatever is wrong with a table is said before a run begins, so no folder is left for it."""
    (tmp_path / "t.csv").write_text(text)

    code, _, err = call("train", "t.csv", "--target", "label", *SETTINGS, *settings)

    assert (code, said in err) == (4, True), err
    assert not (tmp_path / "runs" / "t").exists()


def test_a_number_too_large_gets_no_hint_about_its_spelling(call, tmp_path):
    """No other mark makes 1e308 fit into float32, but float64 does, and is proposed."""
    (tmp_path / "t.csv").write_text(with_column("w", lambda i: "1e308"))

    code, _, err = call("train", "t.csv", "--target", "label", *SETTINGS)

    assert code == 4
    assert '"1e308" is outside float32; set dtype=float64' in err
    assert "data.thousands" not in err
    assert call("train", "t.csv", "--target", "label", *SETTINGS, "dtype=float64")[0] == 0


def test_v53_scaling_does_not_see_the_validation_rows(call, tmp_path):
    """Validation rows a thousand times as large change neither the scaling nor the weights after training."""
    found = []
    for factor in (1, 1000):
        lines = [
            f"{i % 7 * (factor if i > 50 else 1)},{i % 2},{'train' if i <= 50 else 'validation'}" for i in range(60)
        ]
        (tmp_path / f"t{factor}.csv").write_text("\n".join(["a,y,part", *lines]))
        assert call("train", f"t{factor}.csv", "--target", "y", *SETTINGS, PARTS[0])[0] == 0
        with np.load(tmp_path / f"runs/t{factor}/last.npz") as arrays:
            found.append({name: arrays[name] for name in arrays.files if name != "header"})

    assert found[0].keys() == found[1].keys()
    for name, array in found[0].items():
        np.testing.assert_array_equal(array, found[1][name], err_msg=name)


def test_v51_the_target_in_the_input_of_predict_is_not_used(call, trained):
    """Predictions are the same bytes with the right labels in the file, with wrong ones, and with none."""
    lines = rows()
    texts = {
        "right": [HEADER, *lines],
        "wrong": [HEADER, *(line.rpartition(",")[0] + ",nonsense" for line in lines)],
        "none": [HEADER.rpartition(",")[0], *(line.rpartition(",")[0] for line in lines)],
    }
    found = set()
    for name, text in texts.items():
        (trained / f"{name}.csv").write_text("\n".join(text) + "\n")
        code, out, err = call("predict", f"{name}.csv", "-o", "-")
        assert code == 0, err
        found.add(out)

    assert len(found) == 1


@pytest.mark.parametrize("command", ["predict", "eval"])
def test_k26_columns_that_do_not_fit_are_named(call, trained, command):
    """A table with other columns is wrong data, and the missing ones are named."""
    (trained / "o.csv").write_text("a,colour,label\n1,red,yes\n2,blue,no\n")

    line = ("predict", "o.csv") if command == "predict" else ("eval", "runs/t", "--data", "o.csv")
    code, _, err = call(*line)

    assert code == 4
    assert 'no column "b"' in err


def test_v42_unseen_categories_are_counted_and_strict_refuses_them(call, trained):
    """A category that training never saw is counted by column and value; with --strict it is wrong data, by line."""
    (trained / "o.csv").write_text("a,b,colour\n1,2,red\n1,2,mauve\n")

    code, out, err = call("predict", "o.csv", "-o", "-")
    strict, _, said = call("predict", "o.csv", "--strict")

    assert (code, out.count("\n"), strict) == (0, 3, 4)
    assert '"colour"' in err
    assert '"mauve"' in err
    assert "o.csv:3" in said
    assert not (trained / "o.predictions.csv").exists()


@pytest.mark.parametrize(
    ("values", "compression", "code", "said"),
    [
        pytest.param(np.zeros((60, 2**20), np.uint8), zipfile.ZIP_DEFLATED, {4, 9}, "x.npz", id="N11-deflate-bomb"),
        pytest.param(np.zeros((60, 2), np.uint8), zipfile.ZIP_LZMA, {4}, "x.npz", id="N16-lzma"),
        pytest.param(
            np.array([[{}] * 2] * 60, dtype=object), zipfile.ZIP_STORED, {4}, "Python objects", id="N1-objects"
        ),
    ],
)
def test_hostile_npz_tables_are_refused(call, tmp_path, values, compression, code, said):
    """Archives that would blow up, or run code, end with the exit code of their kind."""
    with zipfile.ZipFile(tmp_path / "x.npz", "w", compression) as archive:
        for name, array in {"x": values, "y": np.arange(60) % 2}.items():
            buffer = io.BytesIO()
            np.save(buffer, array, allow_pickle=True)
            archive.writestr(f"{name}.npy", buffer.getvalue())

    found, _, err = call("train", "x.npz", *SETTINGS)

    assert found in code, err
    assert said in err
