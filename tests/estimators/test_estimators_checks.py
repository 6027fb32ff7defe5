"""scikit-learn's own checks of estimators, all of them with `-m long`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("sklearn")

from sklearn.utils.estimator_checks import estimator_checks_generator

from fcnet.sklearn import EXPECTED_FAILURES, FCNetClassifier, FCNetRegressor

QUICK = {
    "check_classifiers_one_label", "check_classifiers_regression_target", "check_complex_data", "check_dict_unchanged",
    "check_dataframe_column_names_consistency", "check_do_not_raise_errors_in_init_or_set_params",
    "check_dont_overwrite_attributes", "check_estimator_cloneable", "check_estimator_repr",
    "check_estimator_sparse_array", "check_estimators_empty_data_messages", "check_estimators_overwrite_params",
    "check_estimators_pickle", "check_estimators_unfitted", "check_fit1d", "check_fit2d_1feature",
    "check_fit2d_1sample", "check_get_params_invariance", "check_mixin_order", "check_n_features_in",
    "check_no_attributes_set_in_init", "check_parameters_default_constructible", "check_requires_y_none",
    "check_sample_weights_shape", "check_set_params", "check_supervised_y_no_nan", "check_valid_tag_types",
}  # fmt: skip
"""Those that say most in the least time."""

KINDS = [FCNetClassifier(epochs=1, layers=[8], threads=1), FCNetRegressor(epochs=1, layers=[8], threads=1)]

ALL = """
import sys
from collections import Counter

from sklearn.utils.estimator_checks import check_estimator

import fcnet.sklearn
from fcnet.sklearn import EXPECTED_FAILURES

results = check_estimator(getattr(fcnet.sklearn, sys.argv[1])(epochs=30), expected_failed_checks=EXPECTED_FAILURES)
print(*(f"{result['check_name']}: {result['status']}" for result in results), sep="\\n")
"""


def named(check) -> str:
    return getattr(check, "func", check).__name__


def quick():
    for kind in KINDS:
        for estimator, check in estimator_checks_generator(kind, expected_failed_checks=EXPECTED_FAILURES):
            if named(check) in QUICK:
                yield pytest.param(estimator, check, id=f"{type(kind).__name__}-{named(check)}")


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::sklearn.exceptions.DataConversionWarning")
@pytest.mark.parametrize(("estimator", "check"), [*quick()])
def test_estimators_keep_to_the_conventions(estimator, check) -> None:
    """Arguments, tags, clones, pickles, names and errors are what scikit-learn expects of every estimator."""
    check(estimator)


@pytest.mark.long
@pytest.mark.parametrize(("kind", "least"), [("FCNetClassifier", 64), ("FCNetRegressor", 58)])
def test_every_check_of_scikit_learn_passes(kind: str, least: int, tmp_path: Path) -> None:
    """All checks pass but the one that EXPECTED_FAILURES argues about, and those that do not apply."""
    env = {**os.environ, "SCIPY_ARRAY_API": "1", "PYTHONPATH": str(Path(__file__).parents[2])}

    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ALL, kind],
        env=env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    found = dict(line.split(": ") for line in done.stdout.splitlines())
    assert {name for name, status in found.items() if status == "xfail"} == set(EXPECTED_FAILURES)
    assert {name for name, status in found.items() if status == "skipped"} <= {
        "check_classifiers_multilabel_output_format_decision_function"  # there is no such method
    }
    assert done.stdout.count(": passed") >= least
