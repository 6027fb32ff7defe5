"""Tables: read exactly, typed by looking at all of them, split, and encoded for a network."""

from __future__ import annotations

from fcnet.data.dataset import Dataset, load, score, together
from fcnet.data.encode import Encoder
from fcnet.data.folds import Folded, folded
from fcnet.data.stream import stream
from fcnet.data.tally import Tally
from fcnet.data.target import Target

__all__ = ["Dataset", "Encoder", "Folded", "Tally", "Target", "folded", "load", "score", "stream", "together"]
