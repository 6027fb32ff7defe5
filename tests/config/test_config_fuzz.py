"""Whatever stands in a file or on the command line, the answer is a config or a typed error in bounded time."""

from __future__ import annotations

import contextlib
import copy
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fcnet.config import Config, from_mapping, load, to_mapping
from fcnet.errors import ConfigError, UsageError

SEED = b"""\
name: digits
data: {train: a.csv, target: y, class_weight: {no: 1, 0: 2.5}, split: {by: random}}
network:
  layers: [256, {units: 128, activation: relu, dropout: 0.1}]
optimizer: {name: adam, lr: 1e-3}
training:
  early_stopping: {metric: val_loss, patience: 20}
  checkpoint: {epochs: 1}
metrics: [accuracy, "log_loss"]
"""
PIECES = [
    *(
        b"{",
        b"}",
        b"[",
        b"]",
        b": ",
        b", ",
        b"- ",
        b"? ",
        b"\n",
        b"\n  ",
        b"\t",
        b"'",
        b'"',
        b"|\n",
        b">\n",
        b"#",
        b"---\n",
    ),
    *(
        b"&a ",
        b"*a",
        b"!!int ",
        b"!x ",
        b"<<: ",
        b"%YAML 1.2\n",
        b"\xff",
        b"\xc3\xa9",
        b"\0",
        b"\xef\xbb\xbf",
        b"\\ud800",
    ),
    *(
        b"010",
        b"1_000",
        b".nan",
        b"1e999",
        b"null",
        b"true",
        b"no",
        b"-1",
        b"9" * 500,
        b"name",
        b"adam",
        b"relu",
        b"units",
    ),
    *(b"lr", b"data", b"layers", b"epochs", b"column", b"\xe2\x80\xa8", b"\x85", b"..", b"~", b"$HOME", b"\\U99999999"),
]
edits = st.lists(
    st.tuples(st.integers(0, len(SEED)), st.integers(0, 8), st.sampled_from(PIECES) | st.binary(max_size=4)), max_size=6
)


def outcome(folder: Path, raw: bytes, *overrides: str) -> Config | None:
    """The config, or None where a typed error that can be printed says what is wrong."""
    file = folder / "c.yaml"
    file.write_bytes(raw)
    try:
        return load(file, overrides)
    except (ConfigError, UsageError) as caught:
        error = caught
    assert error.exit_code in (2, 3)
    assert all(problem.text for problem in error.problems)
    assert not {unicodedata.category(c) for c in str(error).replace("\n", "")} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert len(str(error)) < 10_000
    return None


def mutated(changes: list[tuple[int, int, bytes]]) -> bytes:
    raw = SEED
    for start, length, piece in changes:
        raw = raw[:start] + piece + raw[start + length :]
    return raw


@given(edits)
@settings(max_examples=300, deadline=None)
@example([])
def test_a_mutated_config_is_accepted_or_refused(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int, bytes]]
) -> None:
    """No edit of a good config ends in anything but a config or a list of problems."""
    outcome(tmp_path_factory.getbasetemp(), mutated(changes))


@given(st.binary(max_size=200) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass")))
@settings(max_examples=200, deadline=None)
def test_random_bytes_are_refused(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    """Noise is no config, and is refused like one that is wrong."""
    assert outcome(tmp_path_factory.getbasetemp(), raw) is None


KEYS = [
    "seed",
    "data",
    "data.train",
    "network.layers",
    "network.layers.0",
    "optimizer",
    "optimizer.lr",
    "x",
    "training.checkpoint",
]


@given(
    st.lists(
        st.builds(
            "{}{}{}".format,
            st.sampled_from(KEYS) | st.text(max_size=8),
            st.sampled_from(["=", ".", ""]),
            st.text(max_size=12),
        ),
        max_size=3,
    )
)
@settings(max_examples=200, deadline=None)
def test_random_overrides_are_accepted_or_refused(
    tmp_path_factory: pytest.TempPathFactory, overrides: list[str]
) -> None:
    """No argument ends in anything but a config, a list of problems or a word on its form."""
    outcome(tmp_path_factory.getbasetemp(), SEED, *overrides)


VALUES = [None, -1, "text", ["a"], {}, {"name": ["a"]}]


def places(node: object, way: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every place in a config, the sections themselves included."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield (*way, key)
        yield from places(value, (*way, key))


@pytest.mark.parametrize("recipe", ["plain", "pack"])
def test_any_value_at_any_key_is_read_or_refused(recipe: str) -> None:
    """A value of another kind than a key's is one of its possible values or a problem with the key's name."""
    whole = to_mapping(from_mapping({"data": {"train": "a.csv", "target": "y"}, "recipe": recipe}))
    refused = []

    for way, value in product(places(whole), VALUES):
        config = copy.deepcopy(whole)
        node: Any = config
        for key in way[:-1]:
            node = node[key]
        node[way[-1]] = value
        with contextlib.suppress(ConfigError):
            from_mapping(config)
            continue
        refused.append(way)

    assert set(places(whole)) - {*refused} <= {("data",), ("name",)}


@pytest.mark.long
@given(edits)
@settings(max_examples=20_000, deadline=None)
def test_twenty_thousand_mutated_configs(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int, bytes]]
) -> None:
    """The long form of the test of mutated configs."""
    outcome(tmp_path_factory.getbasetemp(), mutated(changes))


def test_the_fuzzer_would_see_a_leak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loader that lets one exception of the YAML parser through fails these tests."""
    monkeypatch.setattr("fcnet.config.text._EventReader.next", lambda self: self.loader.get_event())

    with pytest.raises(Exception, match="arg") as caught:
        outcome(tmp_path, b'a: "\\UFFFFFFFF"')

    assert not isinstance(caught.value, ConfigError)


def test_a_flood_needs_little_memory(tmp_path: Path) -> None:
    """C26, C30, X10: a config full of aliases is refused within 200 MB, and before it is read to its end."""
    file = tmp_path / "c.yaml"
    file.write_text("a: &a [" + "*a," * 80_000 + "]\n")
    code = (
        "import resource, sys, fcnet.config, fcnet.config.text\n"
        "from fcnet.errors import ConfigError\n"
        "def peak():\n"
        "    unit = 1 if sys.platform == 'darwin' else 1024\n"
        "    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit\n"
        "before = peak()\n"
        "try:\n"
        "    fcnet.config.load(sys.argv[1])\n"
        "except ConfigError as error:\n"
        "    print(error.problems[-2].text, peak() - before < 200e6)\n"
    )

    done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=True)

    assert done.stdout == "more than 40,000 keys and values; is it really a config? True\n"


def test_checking_a_config_loads_no_parser_of_yaml() -> None:
    """Commands that read no YAML do not wait for its parser, nor for a library of schemas."""
    code = """
import sys
from fcnet.config import from_mapping
from_mapping({"data": {"train": "a.csv", "target": "y"}})
print(sorted({"pydantic", "pydantic_core", "yaml"} & set(sys.modules)))
"""

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"
