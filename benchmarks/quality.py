"""How well a config learns tables with published results, on their exact splits: score, error ÷ tuned MLP, seconds.

    python benchmarks/quality.py FOLDER
    python benchmarks/quality.py FOLDER optimizer.lr=3e-3 --seeds 5 --sets churn phoneme
    python benchmarks/quality.py FOLDER --each recipe=plain quality=fast quality=default --into docs/recipes.md

FOLDER has a folder for each set, with its tables and `talent_split.csv`, which says of every row whether it is for
training, validation or test; or with tables `…_train.csv`, `…_val.csv` and `…_test.csv`. What stands behind it are
keys of the config. Each run is one `fcnet train` in a process of its own, timed from outside, and the test part is read
for the score alone. `--each` runs every set with each of several settings, `--config` with a config of one's own,
`--peers` with the libraries that are installed, untuned. `--json` keeps the figures, `--also` takes such files in, and
`--picture` draws all of them, error against seconds.

The published figures are those of TALENT (github.com/LAMDA-Tabular/TALENT at c9d24c8): every model tuned with 100
trials, the best epoch chosen on the validation part, means of 15 seeds. The error is one minus the accuracy, or the
root mean squared error.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import geometric_mean, mean, median, stdev
from time import perf_counter
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.machine import describe, into, row

ROOT = Path(__file__).parents[1]
PART = "part"
PARTS = {"val": "validation"}
DRAWS = 10_000


@dataclass(frozen=True)
class Set:
    """A data set: its tables, one below the other, its target, and published errors: accuracies are taken from one."""

    name: str
    tables: tuple[str, ...]
    target: str
    classes: bool
    mlp: float
    realmlp: float
    xgboost: float
    catboost: float

    def error(self, value: float) -> float:
        """What a score of this set counts as."""
        return 1 - value if self.classes else value

    def published(self, model: str) -> float:
        """The error of a tuned model."""
        return self.error(getattr(self, model))


SETS = (
    Set(
        "california_housing",
        ("houses_raw.csv",),
        "medianHouseValue",
        False,
        52003.4265,
        46781.1367,
        47965.5091,
        45455.3255,
    ),
    Set("churn", ("churn.csv",), "target", True, 0.9325, 0.9630, 0.9488, 0.9575),
    Set("connect_4", ("connect_4.csv",), "target", True, 0.8240, 0.8649, 0.8517, 0.8517),
    Set("cps1988", ("cps1988.csv",), "wage", False, 365.7605, 364.0631, 364.7928, 364.5784),
    Set("cpu_act_talent", (), "usr", False, 2.4917, 2.4305, 2.4039, 2.3649),
    Set("letter", ("letter.csv",), "class", True, 0.9745, 0.9836, 0.9643, 0.9709),
    Set("optdigits", ("optdigits_train.csv", "optdigits_test.csv"), "class", True, 0.9825, 0.9870, 0.9824, 0.9824),
    Set("phoneme", ("phoneme.csv",), "class", True, 0.8684, 0.8784, 0.8766, 0.8797),
    Set("puma32H", ("puma32H.csv",), "thetadd6", False, 0.0082, 0.0057, 0.0079, 0.0065),
    Set("satellite_image", ("satellite_image.csv",), "target", False, 0.6889, 0.6937, 0.7033, 0.6682),
    Set("spambase", ("spambase.csv",), "class", True, 0.9386, 0.9435, 0.9523, 0.9467),
    Set("uci_kin8nm", ("uci_kin8nm.csv",), "y", False, 0.0688, 0.0622, 0.1322, 0.0902),
)


@dataclass(frozen=True)
class Result:
    """The scores of one set, one for each seed, and the seconds of each run."""

    set: Set
    scores: tuple[float, ...]
    seconds: tuple[float, ...]

    @property
    def errors(self) -> list[float]:
        """One for each seed."""
        return [self.set.error(score) for score in self.scores]

    @property
    def ratio(self) -> float:
        """The mean error ÷ that of the tuned MLP."""
        return mean(self.errors) / self.set.published("mlp")

    @property
    def deviation(self) -> float:
        """The standard error of that ratio; not a number for one seed."""
        if len(self.errors) < 2:
            return math.nan
        return stdev(self.errors) / math.sqrt(len(self.errors)) / self.set.published("mlp")


def table(found: Set, folder: Path) -> tuple[list[str], list[list[str]]]:
    """The names of the columns and all rows, with the part that each belongs to in the last one."""
    if not found.tables:
        header: list[str] = []
        rows: list[list[str]] = []
        for part in ("train", "val", "test"):
            header, own = _read(folder / f"{found.name}_{part}.csv")
            rows += [[*cells, PARTS.get(part, part)] for cells in own]
        return [*header, PART], rows
    header, rows = [], []
    for name in found.tables:
        header, own = _read(folder / name)
        rows += own
    _, parts = _read(folder / "talent_split.csv")
    named = {int(number): PARTS.get(part, part) for number, part in parts}
    return [*header, PART], [[*cells, named[i]] for i, cells in enumerate(rows) if i in named]


def _read(path: Path) -> tuple[list[str], list[list[str]]]:
    with open(path, newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    return header, rows


def run(found: Set, path: Path, config: dict[str, Any], keys: Sequence[str], seed: int) -> tuple[float, float]:
    """The score on the test part after one `fcnet train`, and its seconds."""
    import yaml

    with tempfile.TemporaryDirectory() as folder:
        own = {
            **config,
            "name": "run",
            "output": folder,
            "seed": seed,
            "data": {
                **config.get("data", {}),
                "train": str(path),
                "target": found.target,
                "task": "auto" if found.classes else "regression",
                "split": {"by": "column", "column": PART},
            },
        }
        source = Path(folder) / "run.yaml"
        source.write_text(yaml.safe_dump(own), encoding="utf-8")
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        env.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed fcnet is not compiled for every command
        start = perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "fcnet", "train", str(source), *keys, "--quiet"],
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        seconds = perf_counter() - start
        if done.returncode:
            raise SystemExit(f"{found.name}: {done.stderr.strip()}")
        scores = json.loads((Path(folder) / "run" / "metrics.json").read_text())
        return float(scores["test"]["accuracy" if found.classes else "rmse"]["value"]), seconds


Peer = Callable[[Any, Any, int], Any]


def peers(classes: bool) -> dict[str, Peer]:
    """What else is installed, with the settings it comes with, by its name."""
    found: dict[str, Peer] = {}
    try:
        from sklearn import ensemble, neural_network
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ImportError:
        return found
    mlp = neural_network.MLPClassifier if classes else neural_network.MLPRegressor
    boosted = ensemble.HistGradientBoostingClassifier if classes else ensemble.HistGradientBoostingRegressor
    found["scikit-learn's MLP"] = lambda x, y, seed: make_pipeline(StandardScaler(), mlp(random_state=seed)).fit(x, y)
    found["scikit-learn's boosting"] = lambda x, y, seed: boosted(random_state=seed).fit(x, y)
    try:
        import catboost

        cat = catboost.CatBoostClassifier if classes else catboost.CatBoostRegressor
        found["CatBoost"] = lambda x, y, seed: cat(random_seed=seed, verbose=0, allow_writing_files=False).fit(x, y)
    except ImportError:
        pass
    try:
        import lightgbm

        light = lightgbm.LGBMClassifier if classes else lightgbm.LGBMRegressor
        found["LightGBM"] = lambda x, y, seed: light(random_state=seed, verbose=-1).fit(x, y)
    except ImportError:
        pass
    return found


def arrays(found: Set, header: list[str], rows: list[list[str]]) -> dict[str, tuple[Any, Any]]:
    """(x, y) of each part for other libraries: one column for each category, means for what is missing."""
    columns = {name: [cells[j] for cells in rows] for j, name in enumerate(header)}
    parts, labels = np.array(columns.pop(PART)), columns.pop(found.target)
    made: list[Any] = []
    for cells in columns.values():
        try:
            values = np.array([float(cell) if cell else np.nan for cell in cells])
            made.append(np.where(np.isnan(values), np.nanmean(values[parts == "train"]), values))
        except ValueError:
            made += [np.array([cell == level for cell in cells], dtype=float) for level in sorted(set(cells))]
    x = np.stack(made, axis=1)
    y = np.unique(labels, return_inverse=True)[1] if found.classes else np.array(labels, dtype=float)
    return {part: (x[parts == part], y[parts == part]) for part in ("train", "validation", "test")}


def of_peer(found: Set, peer: Peer, parts: dict[str, tuple[Any, Any]], seed: int) -> tuple[float, float]:
    """Score and seconds of another library, which has training and validation rows to learn from."""
    (x, y), (xv, yv), (xt, yt) = parts["train"], parts["validation"], parts["test"]
    scale = 1.0 if found.classes else float(y.std())
    start = perf_counter()
    model = peer(np.vstack([x, xv]), np.concatenate([y, yv]) / scale if not found.classes else np.r_[y, yv], seed)
    p = np.asarray(model.predict(xt)).reshape(-1)
    seconds = perf_counter() - start
    return float((p == yt).mean() if found.classes else np.sqrt(np.mean((p * scale - yt) ** 2))), seconds


def interval(ratios: Sequence[float]) -> tuple[float, float]:
    """The middle 95 % of the geometric mean over sets drawn with replacement."""
    logs = np.log(np.array(ratios))
    means = np.exp(logs[np.random.default_rng(0).integers(0, len(logs), (DRAWS, len(logs)))].mean(axis=1))
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def text(results: dict[str, list[Result]]) -> str:
    """Two tables: every set, and every model over all of them."""
    lines = [row(["set", "model", "score", "error ÷ tuned MLP", "seconds"]), row(["---", "---", *["---:"] * 3])]
    for model, own in results.items():
        for r in own:
            error = f"{r.ratio:.3f}" + ("" if math.isnan(r.deviation) else f" ± {r.deviation:.3f}")
            lines.append(row([r.set.name, model, f"{mean(r.scores):.5g}", error, f"{median(r.seconds):.1f}"]))
    heads = ["model", "geometric mean", "95 %", "median", "worst set", "better than the MLP", "seconds, median"]
    lines += ["", row(heads), row(["---", *["---:"] * 6])]
    for model, own in results.items():
        ratios = [r.ratio for r in own]
        low, high = interval(ratios)
        worst = max(own, key=lambda r: r.ratio)
        seconds = median([second for r in own for second in r.seconds])
        cells = [model, f"{geometric_mean(ratios):.3f}", f"{low:.3f}–{high:.3f}", f"{median(ratios):.3f}"]
        won = f"{sum(ratio < 1 for ratio in ratios)} of {len(ratios)}"
        lines.append(row([*cells, f"{worst.ratio:.2f} ({worst.set.name})", won, f"{seconds:.1f}"]))
    sets = [r.set for r in next(iter(results.values()))]
    for model, name in (("realmlp", "RealMLP"), ("xgboost", "XGBoost"), ("catboost", "CatBoost")):
        ratios = [found.published(model) / found.published("mlp") for found in sets]
        low, high = interval(ratios)
        cells = [f"{name}, tuned, published", f"{geometric_mean(ratios):.3f}", f"{low:.3f}–{high:.3f}"]
        worst_of = max(zip(ratios, sets, strict=True), key=lambda pair: pair[0])
        won = f"{sum(ratio < 1 for ratio in ratios)} of {len(ratios)}"
        lines.append(row([*cells, f"{median(ratios):.3f}", f"{worst_of[0]:.2f} ({worst_of[1].name})", won, ""]))
    return "\n".join(lines)


WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 720, 400, 64, 24, 48
LINES = ("MLP", "CatBoost", "RealMLP")
"""Published models, tuned, in the picture."""


def picture(results: dict[str, list[Result]]) -> str:
    """An SVG: the geometric mean of error ÷ tuned MLP of each model over the median of its seconds, in powers of 2."""
    from xml.sax.saxutils import escape

    points = {
        name: (median([second for r in own for second in r.seconds]), geometric_mean([r.ratio for r in own]))
        for name, own in results.items()
    }
    sets = [r.set for r in next(iter(results.values()))]
    lines = {
        f"{name}, tuned, published": geometric_mean([s.published(name.lower()) / s.published("mlp") for s in sets])
        for name in LINES
    }
    first, last = (
        round_(math.log2(max(x, 0.1)))
        for round_, x in (
            (math.floor, min(x for x, _ in points.values())),
            (math.ceil, 2 * max(x for x, _ in points.values())),
        )
    )
    values = [*lines.values(), *(y for _, y in points.values())]
    low, high = math.floor(min(values) * 20) / 20, math.ceil(max(values) * 20) / 20

    def x(seconds: float) -> float:
        return LEFT + (math.log2(max(seconds, 0.1)) - first) / (last - first) * (WIDTH - LEFT - 16)

    def y(value: float) -> float:
        return TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM)

    def text(at_x: float, at_y: float, said: str, anchor: str = "start") -> str:
        return f'<text x="{at_x:.1f}" y="{at_y:.1f}" text-anchor="{anchor}">{escape(said)}</text>'

    drawn = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
            'font-family="sans-serif" font-size="12">'
        ),
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        text(LEFT, TOP - 8, "error ÷ tuned MLP, geometric mean"),
        text(WIDTH - 16, HEIGHT - 8, "seconds a set, median", "end"),
    ]
    for power in range(first, last + 1):
        at = x(2.0**power)
        drawn.append(f'<path d="M{at:.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#ddd"/>')
        drawn.append(text(at, HEIGHT - BOTTOM + 16, f"{2.0**power:g}", "middle"))
    for i in range(round((high - low) * 20) + 1):
        at = y(low + i / 20)
        drawn.append(f'<path d="M{LEFT} {at:.1f}H{WIDTH - 16}" stroke="#ddd"/>')
        drawn.append(text(LEFT - 6, at + 4, f"{low + i / 20:.2f}", "end"))
    for name, value in lines.items():
        drawn.append(f'<path d="M{LEFT} {y(value):.1f}H{WIDTH - 16}" stroke="#888" stroke-dasharray="6 4"/>')
        drawn.append(text(WIDTH - 20, y(value) - 4, name, "end"))
    for name, (seconds, value) in points.items():
        drawn.append(f'<circle cx="{x(seconds):.1f}" cy="{y(value):.1f}" r="5" fill="#1f5fa8"/>')
        drawn.append(text(x(seconds) + 9, y(value) + 4, f"{name} {value:.3f}"))
    return "\n".join([*drawn, "</svg>", ""])


def held(path: Path) -> dict[str, list[Result]]:
    """The results that `--json` has written."""
    found = json.loads(path.read_text(encoding="utf-8"))
    sets = {each.name: each for each in SETS}
    return {
        name: [Result(sets[s], tuple(scores), tuple(seconds)) for s, (scores, seconds) in own.items()]
        for name, own in found.items()
    }


def main() -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sets", nargs="+", choices=[found.name for found in SETS], metavar="SET")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--config", type=Path, action="append", default=[], help="a config; its table is replaced")
    parser.add_argument("--each", nargs="+", metavar="KEY=VALUE", help="settings, each of which is a model by itself")
    parser.add_argument("--also", type=Path, nargs="+", default=[], metavar="JSON", help="figures that --json has kept")
    parser.add_argument("--picture", type=Path, help="draw error against seconds into this SVG")
    parser.add_argument("--peers", action="store_true", help="scikit-learn, CatBoost and LightGBM, where installed")
    parser.add_argument("--json", type=Path, help="write all figures there")
    parser.add_argument("--into", type=Path, help="replace the table in this Markdown file")
    parser.add_argument("keys", nargs="*", metavar="KEY=VALUE")
    given = parser.parse_args()
    import yaml

    configs: dict[str, tuple[dict[str, Any], list[str]]] = {
        path.stem: (yaml.safe_load(path.read_text(encoding="utf-8")), []) for path in given.config
    }
    configs |= {setting: ({}, [setting]) for setting in given.each or []}
    results: dict[str, list[Result]] = {name: own for path in given.also for name, own in held(path).items()}
    configs = configs or ({} if results else {"fcnet": ({}, [])})
    for found in SETS:
        if (given.sets and found.name not in given.sets) or not (configs or given.peers):
            continue
        header, rows = table(found, given.folder / found.name)
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / f"{found.name}.csv"
            with open(path, "w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows([header, *rows])
            runs: dict[str, Callable[[int], tuple[float, float]]] = {
                name: lambda seed, config=config, own=own, found=found, path=path: run(
                    found, path, config, [*own, *given.keys], seed
                )
                for name, (config, own) in configs.items()
            }
            if given.peers:
                parts = arrays(found, header, rows)
                for name, peer in peers(found.classes).items():
                    runs[name] = lambda seed, peer=peer, found=found, parts=parts: of_peer(found, peer, parts, seed)
            for name, one in runs.items():
                scores, seconds = zip(*(one(seed) for seed in range(given.seeds)), strict=True)
                done = Result(found, scores, seconds)
                results.setdefault(name, []).append(done)
                print(
                    f"{found.name}: {name} {mean(scores):.5g}, ratio {done.ratio:.3f}, {median(seconds):.1f} s",
                    flush=True,
                )
    made = f"{describe([])} Seeds: {given.seeds}.\n\n{text(results)}\n"
    print(f"\n{made}")
    if given.json:
        plain = {name: {r.set.name: [r.scores, r.seconds] for r in own} for name, own in results.items()}
        given.json.write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")
    if given.picture:
        given.picture.write_text(picture(results), encoding="utf-8")
    if given.into:
        into(given.into, "quality", made)


if __name__ == "__main__":
    main()
