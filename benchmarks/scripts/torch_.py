"""A CSV to a score with PyTorch and pandas, as a tutorial would write it."""

import json
import sys
from itertools import pairwise

import numpy as np
import pandas as pd
import torch
from torch import nn

task = json.loads(sys.argv[1])
torch.manual_seed(0)
train, validation = pd.read_csv(task["train"]), pd.read_csv(task["validation"])
labels, y = np.unique(train.pop(task["target"]), return_inverse=True)
y_val = torch.from_numpy(np.searchsorted(labels, validation.pop(task["target"])))
y, x, x_val = torch.from_numpy(y), train.to_numpy(np.float32), validation.to_numpy(np.float32)
mean, scale = x.mean(0), x.std(0)
scale[scale == 0] = 1
x, x_val = torch.from_numpy((x - mean) / scale), torch.from_numpy((x_val - mean) / scale)
widths = [x.shape[1], *task["layers"], len(labels)]
layers: list[nn.Module] = []
for n_in, n_out in pairwise(widths):
    layers += [nn.Linear(n_in, n_out), nn.ReLU()]
net = nn.Sequential(*layers[:-1])
optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)
criterion = nn.CrossEntropyLoss()
score, epochs = 0.0, 0
while epochs < task["epochs"] and score < task["goal"]:
    for rows in torch.randperm(len(x)).split(task["batch"]):
        optimizer.zero_grad(set_to_none=True)
        criterion(net(x[rows]), y[rows]).backward()
        optimizer.step()
    with torch.no_grad():
        score = float((net(x_val).argmax(1) == y_val).float().mean())
    epochs += 1
print(json.dumps({"version": f"torch {torch.__version__}", "score": score, "epochs": epochs}))
