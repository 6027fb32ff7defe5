from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fcnet.data import Dataset, load
from fcnet.data.options import Data, Preprocess


class Folder:
    """Writes tables into a folder and loads them from there."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, content: str | bytes, name: str = "t.csv") -> Path:
        path = self.path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def load(self, content: str | bytes | None = None, name: str = "t.csv", **options: Any) -> Dataset:
        if content is not None:
            self.write(content, name)
        preprocess = options.pop("preprocess", Preprocess())
        more = {key: options.pop(key) for key in ("dtype", "strict", "fitted", "data", "poll") if key in options}
        options = {"target": "y", "validation": 0, **options}
        return load(Data(train=name, **options), preprocess, base=self.path, **more)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def rows(n: int, *, a: str = "{i}", y: str = "{i}.5") -> list[str]:
    """n lines "a,b,y" of numbers."""
    return [",".join((a.format(i=i), str(i * 2), y.format(i=i))) for i in range(n)]


@pytest.fixture
def table() -> list[str]:
    """The lines of a table of 40 rows: number columns a and b, a regression target y."""
    return ["a,b,y", *rows(40)]
