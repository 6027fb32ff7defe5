"""Predictions that stay within the range of the training rows' targets."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import fcnet


def _line(clamp: bool, folder: Path) -> fcnet.Run:
    """A linear net of y = 3 x + 1, trained on x from -1 to 1."""
    x = np.linspace(-1.0, 1.0, 200)
    config = {
        "name": f"line-{clamp}",
        "output": str(folder),
        "data": {"target": "y", "task": "regression", "validation": 0},
        "preprocess": {"clamp": clamp},
        "network": {"layers": []},
        "optimizer": {"lr": 0.05},
        "training": {"epochs": 60},
    }
    return fcnet.train(config, data={"x": x, "y": 3.0 * x + 1.0})


def test_clamped_predictions_stay_within_the_range_of_training(tmp_path: Path) -> None:
    """Far out a prediction is the largest or smallest target; a checkpoint remembers that; without it goes on."""
    far = {"x": np.array([-4.0, 0.0, 4.0])}

    clamped, free = (fcnet.load(_line(clamp, tmp_path).path).predict(far) for clamp in (True, False))

    assert clamped[[0, 2]].tolist() == [-2.0, 4.0]
    assert abs(clamped[1] - 1.0) < 0.05
    assert free[0] < -10 < 12 < free[2]


def test_truths_beyond_the_range_are_scored_as_they_are(tmp_path: Path) -> None:
    """The error of a row whose target lies outside counts in full."""
    model = fcnet.load(_line(True, tmp_path).path)

    scores = model.evaluate({"x": np.array([4.0]), "y": np.array([13.0])})

    assert abs(scores["rmse"]["value"] - 9.0) < 1e-6
