"""Packages that fcnet can do without: whatever is wrong with one, runs go on without it, and say why."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import fcnet
from fcnet import extras
from fcnet.backends import choice

ROOT = Path(fcnet.__file__).parents[1]
CONFIG = """
data: {train: t.csv, target: y, validation: 0.2}
network: {layers: [64, 64]}
training: {epochs: 1, early_stopping: null}
"""
ALWAYS = (
    "import sys\nfrom fcnet.backends import choice\nchoice.WORTH = -1.0\nfrom fcnet.cli import main\nsys.exit(main())\n"
)
"""fcnet, to which compiled kernels are worth their while on any net."""


def furnish(folder: Path, rows: int) -> Path:
    """The folder with a config, its table and the program."""
    lines = [f"{i % 97 / 7:.9f},{i % 31 / 3:.9f},{i % 89 / 11:.9f},{i % 2}" for i in range(rows)]
    (folder / "t.csv").write_text("a,b,c,y\n" + "\n".join(lines) + "\n")
    (folder / "c.yaml").write_text(CONFIG)
    (folder / "always.py").write_text(ALWAYS)
    return folder


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a config and a small table."""
    return furnish(tmp_path, 200)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table of more than a megabyte, which polars reads, and a run of it with all packages."""
    folder = furnish(tmp_path_factory.mktemp("trained"), 33_000)
    done = fcnet_in(folder, "train", "c.yaml")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose run has compiled all kernels into `cache`, with Numba's variable set for `shared`."""
    pytest.importorskip("numba")
    folder = furnish(tmp_path_factory.mktemp("compiled"), 200)
    (folder / "shared").mkdir(mode=0o777)
    own = {"XDG_CACHE_HOME": str(folder / "cache"), "HOME": str(folder)}
    done = fcnet_in(folder, "train", "c.yaml", **own, NUMBA_CACHE_DIR=str(folder / "shared"))
    assert done.returncode == 0, done.stderr
    return folder


def fcnet_in(place: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run it there with these variables; what it compiles is to be there, and not to be fast."""
    path = os.pathsep.join([str(place / "planted"), str(ROOT)])
    return subprocess.run(
        [sys.executable, str(place / "always.py"), *arguments],
        cwd=place,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": path, "NUMBA_OPT": "0", "HOME": str(place), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def plant(place: Path, package: str, text: str) -> None:
    """A package of that name before the real one."""
    (place / "planted" / package).mkdir(parents=True)
    (place / "planted" / package / "__init__.py").write_text(text)


BROKEN = {
    "raises": ("raise ImportError('needs another NumPy')\n", "cannot be used (ImportError: needs another NumPy)"),
    "dies": ("raise SystemError('initialization failed')\n", "(SystemError: initialization failed)"),
    "system": ("raise OSError('libfoo.so: cannot open')\n", "(OSError: libfoo.so: cannot open)"),
    "old": ("__version__ = '0.1.2'\n", "0.1.2 is too old: "),
}


@pytest.mark.parametrize(
    ("package", "kind"),
    [("numba", "raises"), ("numba", "system"), ("numba", "old"), ("polars", "raises"), ("polars", "old")],
)
def test_a_broken_package_is_done_without(package: str, kind: str, trained: Path, tmp_path: Path) -> None:
    """Training, scoring and predicting end well on the plain way, and each says once what is wrong and what to do."""
    pytest.importorskip(package)
    text, said = BROKEN[kind]
    place = tmp_path / "place"
    shutil.copytree(trained, place)
    plant(place, package, text)

    done = {
        "train": fcnet_in(place, "train", "c.yaml"),
        "eval": fcnet_in(place, "eval", "runs/c"),
        "predict": fcnet_in(place, "predict", "t.csv", "-c", "runs/c"),
    }

    for command, each in done.items():
        assert each.returncode == 0, each.stderr
        lines = [line for line in each.stderr.splitlines() if f"{package} " in line and said in line]
        assert len(lines) == 1, (command, each.stderr)
        assert "pip install --upgrade 'fcnet[fast]'" in lines[0]


@pytest.mark.parametrize("kind", ["dies", "old"])
def test_a_broken_backend_that_is_asked_for_is_an_error(kind: str, place: Path) -> None:
    """`backend: numba` does not mean another one: exit 3, with what is wrong and what to install."""
    pytest.importorskip("numba")
    text, said = BROKEN[kind]
    plant(place, "numba", text)

    done = fcnet_in(place, "train", "c.yaml", "backend=numba")

    assert done.returncode == 3
    assert said in done.stderr
    assert done.stderr.rstrip().endswith("pip install --upgrade 'fcnet[fast]', or choose numpy")


def test_a_user_without_a_home_trains_with_compiled_kernels(place: Path) -> None:
    """A container's user or a service has nowhere to keep kernels: they are compiled in a temporary folder, with one
    notice, and nothing is left there."""
    pytest.importorskip("numba")
    temporary = place / "tmp"
    temporary.mkdir()

    done = fcnet_in(place, "train", "c.yaml", HOME="/proc/nonexistent", TMPDIR=str(temporary))

    assert done.returncode == 0, done.stderr
    assert "numba, " in done.stdout + done.stderr
    assert done.stderr.count("compiled kernels cannot be kept (") == 1
    assert not list(temporary.iterdir())


def test_without_any_place_for_kernels_numpy_computes(place: Path) -> None:
    """Where not even a temporary folder can be made, the notice names what is wrong, and the run goes on without."""
    pytest.importorskip("numba")
    script = ALWAYS.replace("from fcnet.cli", "import tempfile\ntempfile.tempdir = '/nonexistent/tmp'\nfrom fcnet.cli")
    (place / "always.py").write_text(script)

    done = fcnet_in(place, "train", "c.yaml", HOME="/proc/nonexistent")
    asked = fcnet_in(place, "train", "c.yaml", "backend=numba", HOME="/proc/nonexistent")

    assert done.returncode == 0, done.stderr
    assert done.stderr.count("numba has no place for what it compiles (/nonexistent/tmp") == 1
    assert "numpy, " in done.stdout + done.stderr
    assert asked.returncode == 6
    assert "/nonexistent/tmp" in asked.stderr


@pytest.mark.parametrize("when", ["at once", "later"])
def test_a_full_disk_under_the_kernels_is_got_round(when: str, place: Path) -> None:
    """Numba's files meet a full disk in the user's folder: kernels go to a temporary one, and the notice says where it
    is full."""
    pytest.importorskip("numba")
    script = f"""
import errno, os
from numba.core.caching import IndexDataCacheFile
real = IndexDataCacheFile.save
def save(self, key, data):
    late = {when == "later"} and "kernel" not in str(self._index_name)
    if {str(place / "cache")!r} in self._cache_path and not late:
        raise OSError(errno.ENOSPC, "No space left on device")
    return real(self, key, data)
IndexDataCacheFile.save = save
"""
    (place / "always.py").write_text(script + ALWAYS)

    done = fcnet_in(place, "train", "c.yaml", XDG_CACHE_HOME=str(place / "cache"), HOME=str(place))

    assert done.returncode == 0, done.stderr
    assert "numba, " in done.stdout + done.stderr
    wanted = rf"compiled kernels cannot be kept in {place}/cache/fcnet/kernels-\S+ \(the disk is full; .*\); each run"
    assert len(re.findall(wanted, done.stderr)) == 1, done.stderr


def test_machine_code_is_read_from_the_users_own_folder_alone(compiled: Path) -> None:
    """Numba's variable for a cache, which others might write to, is not followed."""
    kept = {path.parents[1] for path in (compiled / "cache").rglob("*.nbi")}

    assert not list((compiled / "shared").iterdir())
    assert all(path.name.startswith("kernels-") for path in kept)
    assert kept


def test_a_damaged_cache_is_got_round(compiled: Path) -> None:
    """Files of machine code that hold something else, or cannot be read, are not the end of a run."""
    found = list((compiled / "cache").rglob("*.nbi"))
    for path in found:
        path.write_bytes(b"no index")

    done = fcnet_in(compiled, "train", "c.yaml", XDG_CACHE_HOME=str(compiled / "cache"), HOME=str(compiled))

    assert len(found) > 3
    assert done.returncode == 0, done.stderr
    assert "numba, " in done.stdout + done.stderr


def test_the_least_versions_are_those_that_are_installed() -> None:
    """What the gate takes for too old is what the package's own metadata exclude."""
    about = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    named = {
        name: (extra, tuple(map(int, least.split(".")[:2])))
        for extra, packages in about["project"]["optional-dependencies"].items()
        if extra not in ("dev", "docs")
        for name, least in (each.split(">=") for each in packages)
    }

    known = {extra.package or name: (extra.name, extra.least) for name, extra in extras.PACKAGES.items()}

    assert named == known


def test_numpy_needs_nothing() -> None:
    """The plain backend is always usable."""
    assert choice.fault("numpy") is None
