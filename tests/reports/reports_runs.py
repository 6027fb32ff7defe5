"""Small runs of every kind of target, for the pages that are made of them."""

import csv
from html.parser import HTMLParser
from pathlib import Path

import numpy as np

import fcnet

HOSTILE = "<script>alert(1)</script>"
VOID = {"meta", "path", "circle", "rect", "br", "link", "img", "input", "hr", "mspace"}


class Parsed(HTMLParser):
    """The elements of a page, and those that are not closed in the order in which they were opened."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.open, self.wrong, self.text = [], [], [], [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data):
        self.text.append(data)

    def of(self, tag, name):
        return [attributes[name] for each, attributes in self.attributes if each == tag and name in attributes]


def write(path, header, rows):
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def train(kind, n=120, **config):
    """A run on a table of this kind in the working directory; the columns' names and labels are hostile."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, n)).round(3)
    group = rng.choice(["<b>", "&amp;", "plain"], n)
    noise = rng.normal(size=n)
    target, y = {
        "binary": ("y", np.where(a + 0.5 * noise > 0, HOSTILE, "no")),
        "multiclass": ("y", np.array(["x", HOSTILE, "z"])[np.digitize(a + 0.5 * noise, [-0.5, 0.5])]),
        "regression": ("y", (a - b + 0.3 * noise).round(3)),
        "multilabel": (["y", "z"], np.stack([a > 0, b + noise > 0], 1).astype(int)),
    }[kind]
    y = y.reshape(n, -1)
    cells = [[*row, *truth] for row, truth in zip(zip(a, b, group, strict=True), y.tolist(), strict=True)]
    cells[0][0] = ""
    write(f"{kind}.csv", [HOSTILE, "b", "group", *([target] if isinstance(target, str) else target)], cells)
    settings = {
        "name": kind,
        "data": {"train": f"{kind}.csv", "target": target, "validation": 0.2, "test": 0.3},
        "network": {"layers": [6]},
        "training": {"epochs": 4},
        "backend": "numpy",
        "threads": 1,
    }
    for key, value in config.items():
        settings[key] = {**settings[key], **value} if isinstance(settings.get(key), dict) else value
    return fcnet.train(settings).path
