"""Runs of each kind, trained once."""

import pytest
from reports.reports_runs import train

KINDS = ("binary", "multiclass", "regression", "multilabel")


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A folder in which a run of every kind lies, with the tables that they were trained on."""
    folder = tmp_path_factory.mktemp("reports")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for kind in KINDS:
            train(kind)
    return folder


@pytest.fixture
def runs(trained, monkeypatch):
    """That folder, as the working directory."""
    monkeypatch.chdir(trained)
    return trained / "runs"
