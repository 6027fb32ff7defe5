"""Marks the quick subset: of every part of the program the files that see most of it in the least time."""

from __future__ import annotations

from pathlib import Path

import pytest

QUICK = {
    "test_bench_profile", "test_check_machine", "test_choice", "test_cli_group", "test_cli_predictions",
    "test_config_errors", "test_export_source", "test_estimators_checks",
    "test_config_reading", "test_data_encode", "test_data_split", "test_data_target", "test_faults_tables",
    "test_formulas", "test_layers", "test_metrics", "test_optim_rules", "test_optim_schedules", "test_probes",
    "test_project_imports", "test_random", "test_reports_report", "test_runs_log", "test_session_python",
}  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`pytest -m quick` runs these, without the long proofs among them."""
    for item in items:
        if Path(item.path).stem in QUICK and not item.get_closest_marker("long"):
            item.add_marker("quick")
