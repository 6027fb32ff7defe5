"""Paths in a config are relative to the config, those of the command line and the output to the working directory."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

import pytest

from fcnet.config import from_mapping, load, seen_from, to_mapping
from fcnet.errors import ConfigError


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with configs/ and data/."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    (tmp_path / "data").mkdir()
    return tmp_path


def test_paths_are_relative_to_where_they_are_written(project: Path) -> None:
    """The file's paths start at its folder, overrides and the output at the working directory."""
    (project / "configs/c.yaml").write_text("data: {train: ../data/a.csv, validation: v.csv, target: y}\noutput: out\n")

    config = load("configs/c.yaml", ["data.test=data/t.csv"])

    assert (config.data.train, config.data.validation, config.data.test) == (
        "data/a.csv",
        "configs/v.csv",
        "data/t.csv",
    )
    assert config.output == "out"


def test_a_mapping_is_relative_to_the_working_directory(project: Path) -> None:
    """A config from Python has no folder, and a Path is as good as a text."""
    config = from_mapping({"data": {"train": Path("data") / "a.csv", "target": "y"}, "output": PurePosixPath("x/y")})

    assert (config.data.train, config.output) == ("data/a.csv", "x/y")


def test_two_dots_after_a_link_lead_where_the_system_says(project: Path) -> None:
    """A config in a linked folder finds its data beside the real folder, not beside the link."""
    (project / "else/where").mkdir(parents=True)
    (project / "else/a.csv").write_text("a\n")
    (project / "link").symlink_to("else/where")
    (project / "link/c.yaml").write_text("data: {train: ../a.csv, target: y}\n")

    config = load("link/c.yaml")

    assert Path(config.data.train).samefile("else/a.csv")


def test_the_home_is_filled_in(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path that starts with ~ starts at the user's home, in the file and on the command line."""
    monkeypatch.setenv("HOME", "/home/somebody")
    (project / "c.yaml").write_text("data: {train: ~/a.csv, target: y}\n")

    config = load("c.yaml", ["output=~/runs"])

    assert (config.data.train, config.output) == ("/home/somebody/a.csv", "/home/somebody/runs")


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        pytest.param("train", '"a\\nb.csv"', '"a\\nb.csv": a path with a line break', id="C34-newline"),
        pytest.param("train", "x" * 5000, "a path of 5,000 characters; at most 4,096 are possible", id="C34-long"),
        pytest.param("train", "$HOME/a.csv", "variables are not replaced in paths", id="C34-variable"),
        pytest.param("train", "${HOME}/a.csv", "variables are not replaced in paths", id="C34-braced-variable"),
        pytest.param("train", "~nobody-has-this-name/a.csv", "there is no such home", id="C34-no-such-home"),
        pytest.param("train", "data/", "a folder; write the path of a file", id="C34-trailing-slash"),
        pytest.param("train", '""', "an empty path", id="C34-empty"),
        pytest.param("test", "data/", "a folder; write the path of a file", id="C34-trailing-slash-test"),
        pytest.param("validation", '"0.15"', "expected a fraction or a file; remove the quotes", id="C2-fraction"),
        pytest.param("validation", '"0,15"', "write 0.15, with a point", id="C3-fraction"),
        pytest.param("test", "15%", "write 0.15", id="percent"),
    ],
)  # fmt: skip
def test_a_path_that_cannot_be_meant_is_refused(project: Path, key: str, value: str, problem: str) -> None:
    """What is no path to a file is said at its place before anything is opened."""
    entries = {"train": "a.csv", "target": "y"} | {key: value}
    (project / "c.yaml").write_text("data:\n" + "".join(f"  {k}: {v}\n" for k, v in entries.items()))

    with pytest.raises(ConfigError) as caught:
        load("c.yaml")

    line = 2 + list(entries).index(key)
    assert str(caught.value).startswith(f"c.yaml:{line}:{len(key) + 5}: data.{key}: ")
    assert problem in str(caught.value)


def test_the_name_is_the_stem_of_the_file(project: Path) -> None:
    """A config without a name gives its run the file's name; one from Python the name of its table."""
    for file in ("digits.yaml", "my digits.v2.yml", ".hidden.yaml"):
        (project / file).write_text("data: {train: a.csv, target: y}\n")

    assert load("digits.yaml").name == "digits"
    assert load("my digits.v2.yml").name == "my digits.v2"
    assert load(".hidden.yaml").name == "hidden"
    for file, name in (
        ("data/a.csv.gz", "a"),
        ("sales.2023.csv", "sales.2023"),
        ("x.v1.NPZ", "x.v1"),
        ("b.dat", "b.dat"),
    ):
        assert from_mapping({"data": {"train": file, "target": "y"}}).name == name


def test_a_file_whose_name_is_no_text_still_names_its_run(project: Path) -> None:
    """A file name that is not UTF-8 gives a name that can be written."""
    file = os.fsdecode(b"caf\xe9.yaml")
    (project / file).write_text("data: {train: a.csv, target: y}\n")

    assert load(file).name == "caf_"


def test_a_config_seen_from_another_folder_names_the_same_files(project: Path) -> None:
    """Written into a run's folder, a config still finds its data, also through links; absolute paths stay."""
    (project / "data/a.csv").write_text("a\n")
    (project / "disk/runs/c").mkdir(parents=True)
    (project / "runs").symlink_to("disk/runs")
    data = {"train": "data/a.csv", "validation": str(project / "data/a.csv"), "test": 0.1, "target": "y"}
    config = from_mapping({"data": data})

    moved = seen_from(config, "runs/c")

    assert moved.data.train == "../../../data/a.csv"
    assert (project / "runs/c" / moved.data.train).samefile(project / "data/a.csv")
    assert to_mapping(moved)["data"] == to_mapping(config)["data"] | {"train": "../../../data/a.csv"}


def test_a_table_given_from_python_needs_no_file(project: Path) -> None:
    """With the table at hand neither a file nor a target is asked for, and the rest is checked as ever."""
    config = from_mapping({"seed": 3}, needs_data=False)

    assert (config.data.train, config.data.target, config.seed, config.name) == ("", None, 3, "run")
    with pytest.raises(ConfigError, match="seed"):
        from_mapping({"seed": -3}, needs_data=False)
