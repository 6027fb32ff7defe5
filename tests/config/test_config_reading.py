"""How a config is read: numbers, booleans and texts as in YAML 1.2, and nothing that readers take differently."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fcnet.config import Config, load
from fcnet.config.scalars import NotPlain, read
from fcnet.errors import ConfigError, StorageError

DATA = "data: {train: a.csv, target: y}\n"

# The contract's example, which is also the list of all defaults.
EXAMPLE = """\
name: digits                      # the run folder's name; default: the file's stem
seed: 0                           # initial weights, shuffling, dropout; not the split
data:
  train: data/digits.csv
  validation: 0.15
  test: 0
  split: {by: random, stratify: auto, seed: 0}
  target: digit
  task: auto
  features: all
  exclude: []
  categorical: []
  weight: null
  class_weight: none
  missing: auto
  missing_target: error
  delimiter: auto
  decimal: "."
  thousands: ""
  header: true
  x: x
  y: y
preprocess: {numeric: standard, missing: median, categorical: one_hot, target: standard}
network:
  layers: [256, {units: 128, activation: relu, dropout: 0.1}]
  activation: relu
  dropout: 0
  input_dropout: 0
  init: auto
loss: auto
optimizer: {name: adam, lr: 1e-3}
schedule: {name: constant, warmup: 0}
training:
  epochs: 100
  batch_size: auto
  clip_norm: null
  early_stopping: {metric: val_loss, patience: 20}
  checkpoint: {epochs: 1}
  max_minutes: null
metrics: auto
output: runs
backend: auto
threads: auto
dtype: float32
"""


def config_of(tmp_path: Path, text: str | bytes, *overrides: str) -> Config:
    file = tmp_path / "digits.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load(file, overrides)


def refused(tmp_path: Path, text: str | bytes) -> list[str]:
    """The problems of a config that must be refused, without the path of the file."""
    with pytest.raises(ConfigError) as caught:
        config_of(tmp_path, text)
    assert caught.value.exit_code == 3
    return [str(problem).removeprefix(f"{tmp_path / 'digits.yaml'}:").strip() for problem in caught.value.problems]


def test_the_documented_example_spells_the_defaults(tmp_path: Path) -> None:
    """Every value of the documented example but its layers is what fcnet takes where nothing is said."""
    example = config_of(tmp_path, EXAMPLE)
    short = config_of(
        tmp_path,
        "data: {train: data/digits.csv, target: digit}\n"
        "network: {layers: [256, {units: 128, activation: relu, dropout: 0.1}]}",
    )

    assert example == short
    assert [layer.units for layer in config_of(tmp_path, DATA).network.layers] == [128, 128]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E5", 100000.0),
        ("1.", 1.0),
        (".5", 0.5),
        ("-0.25", -0.25),
        ("+7", 7),
        ("-0", 0),
        ("0", 0),
        ("true", True),
        ("false", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("True", "True"),
        ("2001-01-01", "2001-01-01"),
        ("12:30", "12:30"),
        ("1,5", "1,5"),
        ("0x", "0x"),
        ("1e", "1e"),
        ("inf", "inf"),
        ("٣", "٣"),
        ("1__x", "1__x"),
    ],
)
def test_c1_an_unquoted_scalar_means_what_yaml_1_2_says(text: str, value: object) -> None:
    """Numbers, booleans and null are recognised as YAML 1.2 writes them; everything else is text."""
    found = read(text)

    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        pytest.param("010", "write 8 or 10", id="C6-octal-or-decimal"),
        pytest.param("-017", "write -15 or -17", id="C6-negative"),
        pytest.param("089", "write 89", id="C6-no-octal"),
        pytest.param("00.5", "write 0.5", id="C6-fraction"),
        pytest.param("0o10", "write 8", id="C6-octal"),
        pytest.param("0x20", "write 32", id="C6-hexadecimal"),
        pytest.param("0b11", "write 3", id="C6-binary"),
        pytest.param("1_000", "write 1000", id="C6-underscores"),
        pytest.param("1_0.5", "write 10.5", id="C6-underscored-fraction"),
        pytest.param(".inf", "must be finite", id="C10-infinity"),
        pytest.param("-.INF", "must be finite", id="C10-minus-infinity"),
        pytest.param(".nan", "must be finite", id="C10-nan"),
        pytest.param("1e400", "must be finite", id="C10-overflow"),
        pytest.param("9" * 5000, "a number of 5000 characters", id="C18-endless"),
        pytest.param("1_" * 5000, "a number of 10000 characters", id="C18-endless-underscores"),
    ],
)
def test_what_readers_take_differently_is_no_number(text: str, hint: str) -> None:
    """A number that YAML 1.1 and 1.2 read differently, or that is not finite, is refused with what to write instead."""
    with pytest.raises(NotPlain, match=hint):
        read(text)


def test_long_digits_are_read_in_linear_time() -> None:
    """A scalar of 200,000 characters that is almost a number is recognised as text, without backtracking."""
    for almost in ("1e" * 100_000, "1" * 200_000 + "x", "1_" * 100_000 + "x", "." * 200_000):
        assert read(almost) == almost


def test_c31_a_byte_order_mark_and_windows_line_ends_are_accepted(tmp_path: Path) -> None:
    """C31: a config saved by a Windows editor is read like any other."""
    plain = config_of(tmp_path, EXAMPLE)

    assert config_of(tmp_path, b"\xef\xbb\xbf" + EXAMPLE.replace("\n", "\r\n").encode()) == plain
    assert config_of(tmp_path, EXAMPLE.replace("\n", "\r").encode()) == plain


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        pytest.param("name: é".encode("utf-16"), "1:1: looks like UTF-16; save it as UTF-8", id="C32-utf-16"),
        pytest.param("name: e".encode("utf-16-be"), "1:1: the character U+0000 is not allowed", id="C32-without-mark"),
        pytest.param(
            b"seed: 1\nname: caf\xe9\n", "2:10: byte 0xe9 is not UTF-8; save the file as UTF-8", id="C32-latin-1"
        ),
        pytest.param(
            b"\xef\xbb\xbfname: \xe9\n", "1:7: byte 0xe9 is not UTF-8; save the file as UTF-8", id="C32-after-a-mark"
        ),
        pytest.param(b"seed: 1\r\nname: a\0b\n", "2:8: the character U+0000 is not allowed", id="C32-nul"),
        pytest.param(b"name: a\x1bb\n", "1:8: the character U+001B is not allowed; remove it", id="C32-escape"),
        pytest.param("name: a\u2028b\n".encode(), "1:8: the character U+2028 is not allowed", id="C32-line-separator"),
        pytest.param(
            b'name: "\\ud800"\n', "1:7: name: the text holds a NUL or half of a surrogate pair", id="C32-surrogate"
        ),
        pytest.param(
            b'name: "\\0"\n', "1:7: name: the text holds a NUL or half of a surrogate pair", id="C32-escaped-nul"
        ),
        pytest.param(
            b'"a\\0": 1\n', "1:1: a\\x00: the key holds a NUL or half of a surrogate pair", id="C32-nul-in-key"
        ),
    ],
)
def test_the_encoding_is_utf_8(tmp_path: Path, raw: bytes, problem: str) -> None:
    """Another encoding, or a character that no text editor shows, is named with its byte and place."""
    assert any(line.startswith(problem) for line in refused(tmp_path, raw))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("", "is empty", id="C20-empty"),
        pytest.param("# only\n# comments\n", "is empty", id="C20-comments"),
        pytest.param("---\n...\n", "is empty", id="C20-empty-document"),
        pytest.param("null\n", "is empty", id="C20-null"),
        pytest.param("- 1\n", "1:1: a list, expected a mapping", id="C21-list"),
        pytest.param("\n hello\n", '2:2: "hello", expected a mapping', id="C21-text"),
        pytest.param(DATA + "---\n" + DATA, "2:1: a second document starts here", id="C22-two-documents"),
        pytest.param("data:\n\ttrain: a\n", "2:1: a tab; indent with spaces", id="C23-tab"),
        pytest.param("data: {train: a\n", "2:1: is not valid YAML here", id="C23-open-brace"),
        pytest.param("data: [a, b}\n", "1:12: is not valid YAML here", id="C23-crossed-brackets"),
        pytest.param("seed: 1: 2\n", "1:8: is not valid YAML here", id="C23-two-colons"),
        pytest.param(
            "%YAML " + "9" * 5000 + ".1\n---\na: 1\n", "1:7: is not valid YAML here", id="C25-endless-version"
        ),
        pytest.param('a: "\\UFFFFFFFF"\n', "1:7: is not valid YAML here", id="C25-no-such-character"),
        pytest.param("? [a]\n: 1\n", "1:3: ?: a list or a mapping cannot be a key", id="C21-list-as-key"),
        pytest.param("? {a: 1}\n: 1\n", "1:3: ?: a list or a mapping cannot be a key", id="C21-mapping-as-key"),
        pytest.param("data: {? : 1}\n", "1:9: data.?: a key is missing before the colon", id="C21-no-key"),
        pytest.param("[" * 100_000, "1:21: nested deeper than 20 levels", id="C29-brackets"),
        pytest.param("{a: " * 1000, "1:81: nested deeper than 20 levels", id="C29-braces"),
        pytest.param("- " * 1000, "1:41: nested deeper than 20 levels", id="C29-dashes"),
        pytest.param("".join(" " * i + "a:\n" for i in range(100)), "21:21: nested deeper than 20", id="C29-indents"),
        pytest.param("a: 1\na: " + "[" * 100_000, "2:23: nested deeper than 20 levels", id="C29-under-a-second-key"),
        pytest.param("name: " + "x" * 300_000, "is larger than 256 KiB", id="C30-long-scalar"),
    ],
)
def test_text_that_is_no_config_is_refused_at_its_place(tmp_path: Path, text: str, problem: str) -> None:
    """What is not one YAML mapping of a reasonable size and depth is refused with line and column."""
    assert any(line.startswith(problem) for line in refused(tmp_path, text))


BOMB = "a: &a [x]\n" + "".join(
    f"{b}: &{b} [*{a}, *{a}, *{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        pytest.param(BOMB, "2:8: b.0", id="C26-laughs"),
        pytest.param("a: &a [*a]\n", "1:8: a.0", id="C27-itself"),
        pytest.param("a: 1\nb: *unknown\n", "2:4: b", id="C26-undefined"),
        pytest.param("*a : 1\n", "1:1: *a", id="C26-as-key"),
    ],
)
def test_aliases_are_refused_and_never_followed(tmp_path: Path, text: str, place: str) -> None:
    """An alias is an error at its place, whatever it stands for."""
    assert any(line.startswith(f"{place}: aliases are not allowed") for line in refused(tmp_path, text))


def test_anchors_and_merge_keys_are_refused(tmp_path: Path) -> None:
    """A section cannot be shared between two places."""
    problems = refused(tmp_path, "seed: &one 1\ndata:\n  <<: {train: a.csv}\n  tarin: 2\n")

    assert "1:7: seed: anchors (&one) are not allowed; write the value out" in problems
    assert "3:3: data.<<: merge keys are not allowed; write the entries out" in problems
    assert any(line.startswith("4:3: data.tarin: unknown key; did you mean train?") for line in problems)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("!!python/object/apply:os.system ['touch canary']", id="C24-call"),
        pytest.param("!!python/object/new:os.system [touch canary]", id="C24-new"),
        pytest.param("!!python/name:os.system", id="C24-name"),
        pytest.param("!!python/module:antigravity", id="C24-module"),
        pytest.param("!!binary aGk=", id="C25-binary"),
        pytest.param("!!set {a, b}", id="C25-set"),
        pytest.param("!!timestamp abc", id="C25-timestamp"),
        pytest.param("!!bool abc", id="C25-bool"),
        pytest.param("!!int 1", id="C25-int"),
        pytest.param("!local x", id="C25-local"),
        pytest.param("! x", id="C25-bare"),
        pytest.param("!<tag:example.org,2000:x> y", id="C25-verbatim"),
    ],
)
def test_tags_are_refused_and_never_run(tmp_path: Path, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tag is an error at its place, and nothing that it names is called."""
    monkeypatch.chdir(tmp_path)

    problems = refused(tmp_path, f"{DATA}name: {value}\n")

    assert any(line.startswith("2:7: name: tags (") and "are not allowed" in line for line in problems)
    assert os.listdir(tmp_path) == ["digits.yaml"]


def test_c11_a_key_that_is_there_twice_is_named_with_both_lines(tmp_path: Path) -> None:
    """C11: of two equal keys neither wins, at the top and in a section."""
    problems = refused(tmp_path, f"{DATA}seed: 1\noptimizer:\n  lr: 1\n  name: adam\n  lr: 2\nseed: 2\n")

    assert problems == [
        "6:3: optimizer.lr: the key is there twice (first on line 4), again on line 6; keep one",
        "7:1: seed: the key is there twice (first on line 2), again on line 7; keep one",
    ]


def test_c5_labels_may_look_like_anything(tmp_path: Path) -> None:
    """C5: the labels under class_weight are texts as they are written, whatever YAML takes them for elsewhere."""
    config = config_of(
        tmp_path,
        "data: {train: a.csv, target: y, class_weight: {no: 1, 01: 2, 1.50: 3, true: 4, null: 5, '': 6, 2001-1-1: 7}}",
    )

    weights = {"no": 1, "01": 2, "1.50": 3, "true": 4, "null": 5, "": 6, "2001-1-1": 7}
    assert config.data.class_weight == weights


def test_c8_texts_that_look_like_something_else_stay_texts(tmp_path: Path) -> None:
    """C5, C8: neither the Norway of a list of countries nor a date changes."""
    config = config_of(tmp_path, "name: 2001-01-01\ndata: {train: a.csv, target: y, exclude: [no, se, dk, 12:30]}")

    assert config.name == "2001-01-01"
    assert config.data.exclude == ["no", "se", "dk", "12:30"]


def test_an_empty_section_has_its_defaults(tmp_path: Path) -> None:
    """A section whose lines are all comments is like a section that is not there."""
    assert config_of(tmp_path, DATA + "training:\n  # epochs: 3\noptimizer:\n") == config_of(tmp_path, DATA)


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe", "device", "under a file", "dangling link"])
def test_only_a_plain_file_is_opened(tmp_path: Path, kind: str) -> None:
    """A path that is no plain file is refused at once, and a pipe does not block."""
    path = tmp_path / "c.yaml"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path = Path("/dev/zero")
    elif kind == "under a file":
        path.write_text("")
        path /= "c.yaml"
    elif kind == "dangling link":
        path.symlink_to(tmp_path / "nowhere")

    with pytest.raises(ConfigError) as caught:
        load(path)

    assert str(caught.value).startswith(f"{path}: ")


def test_a_file_that_cannot_be_read_is_a_fault_of_the_file_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A config without permission ends with exit code 6 and names the file."""
    file = tmp_path / "c.yaml"
    file.write_text(DATA)

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(StorageError) as caught:
        load(file)

    assert str(caught.value) == f"{file}: cannot be read: Permission denied"
    assert caught.value.exit_code == 6
