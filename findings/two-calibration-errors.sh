#!/usr/bin/env bash
# torchmetrics' calibration error of a question with two classes depends on whether it is asked as binary or multiclass.
#
# Expected: the same rows and probabilities have one expected calibration error, however the task is named: the binary
#   form is the short one of two columns, as it is for its accuracy, and the page of the class says "top-label".
# Happens: the binary one compares the probability of class 1 with how often class 1 turns out, the multiclass one the
#   probability of the decided class with how often that is right. Where every probability is too high by 0.1, the
#   binary error is 0.094, and the multiclass one 0.021: too bold for class 1 and too shy for class 0 fall into the same
#   bins and cancel. A net that is judged by one and compared with a table of the other looks four times as good or bad.
# Versions: torchmetrics 1.9.0, torch 2.13.0, numpy 2.4.6, Python 3.11. Seen 2026-11-28.
# Source: torchmetrics' page on its calibration error, and Guo and others 2017 (arXiv 1706.04599), who define the error
#   by the probability of the decided class.
# With fcnet: `ece` is of the decided class for two classes as for many, and docs/decisions.md says so.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q torch==2.13.0 torchmetrics==1.9.0 numpy==2.4.6
"$work/venv/bin/python" - >"$work/seen" <<'PYTHON'
import numpy as np
import torch
from torchmetrics.classification import CalibrationError

rng = np.random.default_rng(0)
p = rng.uniform(size=20_000)
y = torch.tensor(rng.uniform(size=20_000) < p).int()
odds = p / (1 - p)
for name, said in {"honest": p, "too sure": odds**2 / (1 + odds**2), "too high by 0.1": np.clip(p + 0.1, 0, 1)}.items():
    said = torch.tensor(said)
    binary = CalibrationError(task="binary", n_bins=10)(said, y)
    multiclass = CalibrationError(task="multiclass", num_classes=2, n_bins=10)(torch.stack([1 - said, said], 1), y)
    print(f"{name}: binary {binary:.3f}, multiclass {multiclass:.3f}")
PYTHON
cat "$work/seen"
diff "$work/seen" - <<'SEEN'
honest: binary 0.007, multiclass 0.004
too sure: binary 0.092, multiclass 0.092
too high by 0.1: binary 0.094, multiclass 0.021
SEEN
