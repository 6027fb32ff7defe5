"""A CSV to a score with fcnet: its own training, with run folder and checkpoints, until the goal is met."""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import fcnet
from fcnet import api, config
from fcnet.training.events import Epoch

task = json.loads(sys.argv[1])
settings = config.from_mapping(
    {
        "name": "to_score",
        "data": {"train": task["train"], "validation": task["validation"], "target": task["target"]},
        "network": {"layers": task["layers"]},
        "training": {"epochs": task["epochs"], "batch_size": task["batch"], "early_stopping": None},
    }
)
score, epochs = 0.0, 0
for event in api.training(settings):
    if isinstance(event, Epoch):
        score, epochs = event.val["accuracy"], event.epoch
        if score >= task["goal"]:
            break
print(json.dumps({"version": f"fcnet {fcnet.__version__}", "score": score, "epochs": epochs}))
