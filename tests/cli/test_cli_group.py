"""The command line as a whole: help, version, completion, and what it loads."""

import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from click import NoSuchOption
from click.shell_completion import get_completion_class
from click.testing import CliRunner

import fcnet.cli
from fcnet import __version__
from fcnet.cli import group
from fcnet.cli.group import COMMANDS, ELSEWHERE

NO_OPTION = NoSuchOption("--epochs").format_message().rstrip(".")  # releases of click put it differently
HEAVY = ("numpy", "polars", "yaml", "tqdm")

run = partial(subprocess.run, check=False)


def test_help_and_version_load_nothing_heavy():
    """Whoever asks for help or the version waits for Python and click alone."""
    script = f"""
import sys
from fcnet.cli import main
for arguments in (["--help"], ["-h"], ["--version"], *([name, "--help"] for name in {list(COMMANDS)})):
    code = main(arguments)
    print(code, [name for name in {HEAVY} if name in sys.modules], file=sys.stderr)
"""

    done = run([sys.executable, "-c", script], capture_output=True, text=True)

    assert set(done.stderr.splitlines()) == {"0 []"}


@pytest.mark.parametrize("name", [None, *COMMANDS])
def test_every_help_opens_with_an_example(name):
    """The first thing in every help is a command that can be pasted."""
    result = CliRunner().invoke(group.fcnet, [*([name] if name else []), "--help"])

    first = result.output.splitlines()[:2]
    assert result.exit_code == 0
    assert first[0] == "Example:"
    assert first[1].startswith(f"  fcnet {name or 'train'}")


def test_the_group_lists_every_command_once():
    """`fcnet --help` lists the commands in the order in which people need them, each with a whole sentence."""
    lines = CliRunner().invoke(group.fcnet, ["--help"]).output.split("Commands:\n")[1].split("\n\n")[0].splitlines()

    assert tuple(line.split()[0] for line in lines) == tuple(COMMANDS)
    assert all(line.endswith(".") and "..." not in line for line in lines)


def test_every_file_of_a_command_is_listed():
    """A command that has a file is in the help, and the other way round."""
    files = Path(fcnet.cli.__file__).parent.glob("*.py")

    assert {file.stem for file in files if "\ndef command(" in file.read_text("utf-8")} == set(COMMANDS)


def test_version_is_the_package_version(call):
    """`fcnet --version` prints name and version on stdout."""
    assert call("--version") == (0, f"fcnet {__version__}\n", "")


def test_without_arguments_the_help_is_shown_as_a_usage_error(call):
    """`fcnet` alone shows what there is, and does not look like success."""
    code, out, err = call()

    assert (code, out) == (2, "")
    assert err.startswith("Example:\n  fcnet train config.yaml")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["trian"], 'fcnet: there is no command "trian"; did you mean train? see fcnet --help\n'),
        (["fly\x1b[31m"], 'fcnet: there is no command "fly\\x1b[31m"; see fcnet --help\n'),
        (["--verion"], None),
        (
            ["train", "--seed", "1.5"],
            "fcnet: Invalid value for '--seed': \"1.5\" is not a whole number from 0; see fcnet train --help\n",
        ),
        (["predict"], "fcnet: Missing argument 'INPUT'; see fcnet predict --help\n"),
        (["eval", "--split", "all"], None),
        (["train", "t.csv", "--frobnicate"], None),
        (["eval", "--epochs", "3"], f"fcnet: {NO_OPTION}; see fcnet eval --help\n"),
    ],
)
def test_wrong_usage_is_one_line_that_names_the_help(call, arguments, said):
    """A command line that cannot be read ends with 2 and one line."""
    code, out, err = call(*arguments)

    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said is None or err == said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "t.csv", "--epochs", "50"], "--epochs; write training.epochs=50; "),
        (["train", "t.csv", "--epochs=50"], "--epochs; write training.epochs=50; "),
        (["train", "t.csv", "--lr", "0.01", "--batch-size", "8"], "write optimizer.lr=0.01 training.batch_size=8; "),
        (["train", "t.csv", "-lr", "0.01"], "-lr; write optimizer.lr=0.01; "),
        (["train", "t.csv", "--learning-rate", "1e-3", "-q"], "write optimizer.lr=1e-3; "),
        (["train", "t.csv", "--hidden-layers", "64", "32", "--seed", "1"], "write 'network.layers=[64,32]'; "),
        (["train", "t.csv", "--layers", "64,32"], "write 'network.layers=[64,32]'; "),
        (["train", "t.csv", "--loss", "mse"], "write loss=squared_error; "),
        (["train", "t.csv", "--metrics", "f1"], "write 'metrics=[f1]'; "),
        (["train", "t.csv", "--name", "a b"], "write 'name=a b'; "),
        (["train", "t.csv", "--threads"], "write threads=VALUE; "),
        (["train", "t.csv", "--random-state", "4"], "--random-state; write --seed 4; "),
        (["train", "t.csv", "--label", "y"], "--label; write --target y; "),
        (["train", "t.csv", "-t", "y"], "-t; write --target y; "),
        (["train", "t.csv", "--time-limit", "30m"], "write --max-time 30m; "),
        (["check", "c.yaml", "--target", "y"], "--target; write data.target=y; "),
        (["train", "t.csv", "--gpu"], "--gpu; fcnet uses no GPU: "),
        (["train", "t.csv", "--device", "cuda:0"], "--device; fcnet uses no GPU: "),
        (["train", "--config", "c.yaml"], "stands without an option: fcnet train c.yaml; "),
        (["predict", "--input", "t.csv"], "stands without an option: fcnet predict t.csv; "),
        (["predict", "t.csv", "--model", "runs/a"], "--model; write -c runs/a; "),
    ],
)
def test_an_option_of_another_program_leads_to_the_key(call, arguments, said):
    """What is to be typed instead is there with the user's own value, for all options of a command line at once."""
    code, out, err = call(*arguments)

    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("fcnet: there is no option ")
    assert said in err


@pytest.mark.parametrize(("theirs", "said"), ELSEWHERE.items())
def test_a_command_of_another_program_leads_to_ours(call, theirs, said):
    """It is named, or how the thing is done here, and nothing is promised that there is not."""
    code, out, err = call(theirs)

    meant = f"did you mean {said}?" if said in COMMANDS else f"{said};"
    assert (code, out, err) == (2, "", f'fcnet: there is no command "{theirs}"; {meant} see fcnet --help\n')
    assert set(re.findall(r"fcnet ([a-z]\w+)", said)) <= set(COMMANDS)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_exist(shell):
    """Completion for the three shells comes from the program itself."""
    done = run(
        [sys.executable, "-m", "fcnet"],
        env={**os.environ, "_FCNET_COMPLETE": f"{shell}_source"},
        capture_output=True,
        text=True,
    )

    assert "_FCNET_COMPLETE" in done.stdout


def test_completion_knows_the_commands():
    """A shell that asks what `fcnet tr` may become is told train."""
    asked = {"_FCNET_COMPLETE": "bash_complete", "COMP_WORDS": "fcnet tr", "COMP_CWORD": "1"}

    done = run([sys.executable, "-m", "fcnet"], env={**os.environ, **asked}, capture_output=True, text=True)

    assert done.stdout == "plain,train\n"


def test_completion_that_is_asked_for_by_nobody_changes_nothing(call, monkeypatch):
    """With the variable there and empty a command ends as it always does."""
    monkeypatch.setenv("_FCNET_COMPLETE", "")

    assert call("check", "none.yaml")[0] == 3


PLACES = [
    ("train", "file"),
    ("train config.yaml", "file"),
    ("train -o", "dir"),
    ("train --resume =", "file"),
    ("eval", "file"),
    ("eval --data", "file"),
    ("predict", "file"),
    ("predict -c", "file"),
    ("predict -o", "file"),
    ("init", "file"),
    ("init -o", "file"),
    ("check", "file"),
    ("explain", "file"),
    ("explain -o", "file"),
    ("bench", "file"),
    ("inspect", "file"),
    ("warmup", "file"),
    ("serve", "file"),
]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize(("words", "kind"), PLACES)
def test_the_shell_offers_files_where_a_file_is_asked_for(monkeypatch, shell, words, kind):
    """Wherever a command takes a file or a folder, completion says so to bash, zsh and fish, which know the files."""
    monkeypatch.setenv("COMP_WORDS", f"fcnet {words} da")
    monkeypatch.setenv("COMP_CWORD", "da" if shell == "fish" else str(len(words.split()) + 1))

    said = get_completion_class(shell)(group.fcnet, {}, "fcnet", "_FCNET_COMPLETE").complete()

    assert re.split("[,\n]", said)[:2] == [kind, "da"]
