"""Options that set a key of the config, and outputs that would replace what they are made of."""

import json

import pytest

LINES = "a,b,y\n" + "".join(f"{i % 7 - 3},{(i * i) % 5},{'no' if i % 7 < 3 else 'yes'}\n" for i in range(60))
CONFIG = "data: {train: t.csv, target: y}\nnetwork: {layers: [4]}\ntraining: {epochs: 1}\nbackend: numpy\nthreads: 1\n"


@pytest.fixture
def place(call, tmp_path):
    """A folder with a table and a config for it."""
    (tmp_path / "t.csv").write_text(LINES)
    (tmp_path / "c.yaml").write_text(CONFIG)
    return tmp_path


OPTIONS = [
    ("--seed", "007", ("seed",), 7),
    ("--max-time", "1h30m", ("training", "max_minutes"), 90.0),
    ("--budget", "10m", ("training", "budget"), "10m"),
    ("--quality", "fast", ("quality",), "fast"),
]


@pytest.mark.parametrize(("option", "value", "path", "expected"), OPTIONS, ids=[case[0] for case in OPTIONS])
def test_an_option_of_a_key_sets_it_wherever_a_config_is_taken(call, place, option, value, path, expected):
    """It stands over KEY=VALUE, as in training."""
    code, out, err = call("check", "c.yaml", "seed=1", option, value, "--json")

    assert code == 0, err
    found = json.loads(out)["config"]
    for part in path:
        found = found[part]
    assert found == expected


@pytest.mark.parametrize("command", ["train", "check", "explain", "bench", "warmup", "init"])
def test_every_command_that_takes_a_config_has_these_options(call, place, command):
    """A value that is none is refused alike, and nothing is done."""
    for option, value, what in (
        ("--seed", "x", "whole number"),
        ("--max-time", "soon", "a time"),
        ("--budget", "-1", "a time"),
    ):
        code, out, err = call(command, "c.yaml", option, value)

        assert (code, out) == (2, "")
        assert f"Invalid value for '{option}': \"{value}\" is not {what}" in err or f"is not a {what}" in err


def test_init_writes_the_quality_that_is_asked_for(call, place):
    """`--quality` of `init` is that of `train`."""
    code, out, _ = call("init", "t.csv", "--target", "y", "--quality", "fast", "-o", "-")

    assert code == 0
    assert "\nquality: fast " in out


def test_a_format_that_is_missing_is_asked_for_in_one_line(call, place):
    """The three are named."""
    code, out, err = call("export", "net.npz")

    assert (code, out) == (2, "")
    assert err == "fcnet: --format is missing: write --format onnx, c or python\n"


def test_a_page_does_not_replace_what_it_is_made_of(call, place):
    """A run's own files and its table stay as they are; its last page is replaced."""
    for name in ("one", "two"):
        assert call("train", "c.yaml", f"name={name}", "-q")[0] == 0
    (place / "v.csv").write_text(LINES)
    own = ["best.npz", "last.npz", "metrics.json", "metrics.csv", "config.yaml", "environment.json", "log.txt"]
    kept = [place / "t.csv", place / "v.csv", *(place / "runs/one" / name for name in own)]
    before = [path.read_bytes() for path in kept]
    written = [("report", "runs/one", "-o", path) for path in kept if path.name != "v.csv"]
    written += [("compare", "runs/two", "runs/one", "-o", path) for path in kept if path.name != "v.csv"]
    written += [
        ("explain", "c.yaml", "data.validation=v.csv", "-o", place / name) for name in ("v.csv", "t.csv", "c.yaml")
    ]

    ended = [call(*arguments) for arguments in written]

    assert {code for code, _, _ in ended} == {2}
    assert all("is an input, and would be replaced by the output" in err for _, _, err in ended)
    assert [path.read_bytes() for path in kept] == before
    assert call("report", "runs/one")[0] == call("report", "runs/one", "-o", "runs/one/report.html")[0] == 0
