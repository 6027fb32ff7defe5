"""What holds for all tests: signals as a fresh process has them, and no collection of what needs a missing extra."""

import signal
from importlib.util import find_spec

NEEDS = {"fcnet/backends/numba": "numba", "fcnet/sklearn.py": "sklearn"}
collect_ignore = [path for path, package in NEEDS.items() if not find_spec(package)]

# Under nohup SIGHUP is ignored, and every program that a test starts would go on ignoring it.
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
