"""scikit-learn: `partial_fit` on all rows is one epoch of its own loop."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import sklearn
from sklearn.neural_network import MLPClassifier

from benchmarks.cases import LEARNING_RATE, Case

VERSION = f"scikit-learn {sklearn.__version__}"


def mlp(case: Case) -> Callable[[], float]:
    """MLPClassifier; with two classes it has one sigmoid output instead of two softmax outputs."""
    x, y = case.data()
    net = MLPClassifier(
        case.widths[1:-1],
        activation="relu",
        solver="adam",
        alpha=0.0,
        batch_size=case.batch,
        learning_rate_init=LEARNING_RATE,
        random_state=0,
    )
    classes = np.arange(case.widths[-1])

    def epoch() -> float:
        net.partial_fit(x, y, classes=classes)
        return float(net.loss_)

    epoch()
    return epoch
