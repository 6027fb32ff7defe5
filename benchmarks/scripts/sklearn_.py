"""A CSV to a score with scikit-learn, as its users write it."""

import json
import sys

import numpy as np
import pandas as pd
import sklearn
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

task = json.loads(sys.argv[1])
train, validation = pd.read_csv(task["train"]), pd.read_csv(task["validation"])
y, y_val = train.pop(task["target"]), validation.pop(task["target"])
scaler = StandardScaler()
x = scaler.fit_transform(train.to_numpy(np.float32))
x_val = scaler.transform(validation.to_numpy(np.float32))
net = MLPClassifier(task["layers"], batch_size=task["batch"], alpha=0.0, random_state=0)
score, epochs = 0.0, 0
while epochs < task["epochs"] and score < task["goal"]:
    net.partial_fit(x, y, classes=np.unique(y))
    score, epochs = float(net.score(x_val, y_val)), epochs + 1
print(json.dumps({"version": f"scikit-learn {sklearn.__version__}", "score": score, "epochs": epochs}))
