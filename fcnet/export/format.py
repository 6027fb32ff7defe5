"""What a format is that nets are exported to: files from a graph, and their predictions for a check."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

from fcnet.export.checking import Samples
from fcnet.export.graph import Graph
from fcnet.records import dataclass


@dataclass(frozen=True)
class Wish:
    """What is to be made: `name` is what the net is called there, `strings` how categories come in."""

    name: str
    strings: Literal["in-graph", "codes"] = "in-graph"


class Format(Protocol):
    """One format; the registry has an object of each."""

    @property
    def suffixes(self) -> tuple[str, ...]:
        """How its files' names end, the first as the user gives it."""

    @property
    def single(self) -> bool:
        """Whether numbers come in as float32."""

    @property
    def codes(self) -> bool:
        """Whether categories can come in as codes."""

    def following(self, path: Path) -> str:
        """What to do with the file."""

    def files(self, graph: Graph, wish: Wish, samples: Samples) -> dict[str, bytes]:
        """What stands in each file, by its suffix. UsageError for what the format cannot express."""

    def predicts(self, graph: Graph, wish: Wish, files: Mapping[str, bytes], samples: Samples) -> Mapping[str, Any]:
        """The predictions of the files for the samples, (n,) each by the names of `graph.told`."""
