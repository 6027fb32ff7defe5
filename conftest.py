"""Leaves out of collection what needs an extra that is not installed."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("numba") else ["fcnet/backends/numba"]
