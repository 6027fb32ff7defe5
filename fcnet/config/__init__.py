"""The config: read, checked, spelled out, compared and documented."""

from fcnet.config.differences import differences
from fcnet.config.load import asked_for, from_mapping, load, recheck, settled
from fcnet.config.locate import locating
from fcnet.config.paths import seen_from
from fcnet.config.schema import Config
from fcnet.config.write import dump, to_mapping

__all__ = [
    "Config",
    "asked_for",
    "differences",
    "dump",
    "from_mapping",
    "load",
    "locating",
    "recheck",
    "seen_from",
    "settled",
    "to_mapping",
]
