"""What holds for all tests: signals and bytecode as usual, and no collection of what needs a missing extra."""

import atexit
import os
import shutil
import signal
import tempfile
from importlib.util import find_spec

NEEDS = {"fcnet/backends/numba": "numba", "fcnet/sklearn.py": "sklearn"}
collect_ignore = [path for path, package in NEEDS.items() if not find_spec(package)]

# Under nohup SIGHUP is ignored, and every program that a test starts would go on ignoring it.
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Where no bytecode may lie beside the source, every program that a test starts would compile the whole package.
if os.environ.pop("PYTHONDONTWRITEBYTECODE", "") and "PYTHONPYCACHEPREFIX" not in os.environ:
    os.environ["PYTHONPYCACHEPREFIX"] = tempfile.mkdtemp(prefix="fcnet-bytecode-")
    atexit.register(shutil.rmtree, os.environ["PYTHONPYCACHEPREFIX"], ignore_errors=True)
