"""`fcnet train` on the terminal: what is asked of the library, and what appears on which stream."""

import json
from pathlib import Path

import pytest

from fcnet.errors import ConfigError, Problem, Stopped
from fcnet.training.events import Epoch, Finished, Notice, Progress, Started

CONFIG = "data: {train: digits.csv, target: digit}\n"


def epoch(n, best=False):
    return Epoch(n, 50, 40 * n, 1e-3, 0.5 / n, {"loss": 0.6 / n, "accuracy": 0.9}, 0.021, 0.1 * n, best)


@pytest.fixture
def trained(api, head, scores, tmp_path):
    """A staged training run; `calls` has what it was asked for."""
    calls = []

    def training(config, **options):
        calls.append((config, options))
        yield Notice('column "a\x1b[2J": 3 cells are missing')
        yield Started(Path("runs/digits"), head)
        yield Progress(1, 50, 10, 320, 1257, 0.7, 35120.4)
        yield epoch(1, best=True)
        yield epoch(2)
        yield epoch(50)
        yield Finished(Path("runs/digits"), scores, "all 50 epochs are done")

    api.training = training
    (tmp_path / "digits.yaml").write_text(CONFIG)
    return calls


def test_a_replacement_stopped_before_its_first_step_is_begun_again(api, call):
    """The hint keeps --overwrite: --resume would go on with the run that was to be replaced."""

    def training(config, **_):
        raise Stopped("stopped by Ctrl-C before the first step", 130, saved=False)
        yield

    api.training = training
    Path("c.yaml").write_text("data: {train: t.csv, target: a}\n", encoding="utf-8")

    code, _, err = call("train", "c.yaml", "--overwrite")

    assert code == 130
    assert "next: fcnet train c.yaml --overwrite\n" in err


def test_the_end_of_train_is_one_aligned_block_on_stdout(trained, call):
    """Data, net, best scores beside the trivial predictor's, files and the next command make up stdout."""
    code, out, _ = call("train", "digits.yaml")

    assert code == 0
    assert out == (
        "digits   1,797 rows · 64 numbers → 10 classes (digit) · 1,257 train, 270 validation, 270 test\n"
        "net      64 → 256 relu → 128 relu → 10 · 50,826 parameters · adam 1e-3 · numpy, 2 threads\n"
        "best     epoch 31 of 50          validation     test    guessing the majority\n"
        "         accuracy                     0.985    0.978                    0.101\n"
        "         log_loss                    0.0611   0.0741                   2.3021\n"
        "files    runs/digits/best.npz …        next: fcnet predict YOUR.csv\n"
    )


def test_without_a_terminal_progress_is_plain_lines_on_stderr(trained, call):
    """stderr has the notices with control characters escaped, the head, and some lines of progress without codes."""
    _, _, err = call("train", "digits.yaml")

    assert err.splitlines() == [
        'notice: column "a\\x1b[2J": 3 cells are missing',
        "digits   1,797 rows · 64 numbers → 10 classes (digit) · 1,257 train, 270 validation, 270 test",
        "net      64 → 256 relu → 128 relu → 10 · 50,826 parameters · adam 1e-3 · numpy, 2 threads",
        "epoch  1/50  loss 0.500  val_loss 0.600  val_accuracy 0.900  0.0 s  best",
        "epoch 50/50  loss 0.0100  val_loss 0.0120  val_accuracy 0.900  0.0 s",
        "all 50 epochs are done",
    ]


def test_verbose_says_every_epoch(trained, call):
    """-v prints a line for every epoch, however fast they come."""
    _, _, err = call("train", "digits.yaml", "-v")

    assert "epoch  2/50" in err


def test_quiet_says_nothing_but_the_result(trained, call):
    """-q leaves stderr empty; the summary is still the result."""
    _, out, err = call("train", "digits.yaml", "-q")

    assert err == ""
    assert out.startswith("digits ")


def test_json_is_one_object_on_stdout(trained, call, scores):
    """--json prints the run's folder and what metrics.json holds, strictly, with null for what is not finite."""
    scores["test"]["log_loss"]["value"] = float("nan")

    _, out, _ = call("train", "digits.yaml", "--json")

    found = json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert found["run"] == "runs/digits"
    assert found["best_epoch"] == 31
    assert found["test"]["log_loss"] == {"value": None, "trivial": 2.3021}


def test_overrides_and_options_reach_the_config(trained, call):
    """KEY=VALUE and the options that stand for one end up in the config that is trained."""
    code, _, err = call(
        "train",
        "digits.yaml",
        "optimizer.lr=0.01",
        "network.layers=[7]",
        "--seed",
        3,
        "--max-time",
        "1h30m",
        "-o",
        "010",
    )

    config, options = trained[0]
    assert code == 0, err
    assert (config.optimizer.lr, config.network.layers[0].units, config.seed) == (0.01, 7, 3)
    assert (config.training.max_minutes, config.output, config.name) == (90, "010", "digits")
    assert (options["overwrite"], options["resume"], options["strict"]) == (False, None, False)


def test_resume_takes_a_run_only_after_the_equals_sign(trained, call, tmp_path):
    """A bare --resume in front of the config goes on with the newest run; --resume=RUN names one."""
    call("train", "--resume", "digits.yaml")
    call("train", "digits.yaml", "--resume")
    call("train", "digits.yaml", "--resume=runs/digits-2")

    assert [options["resume"] for _, options in trained] == [True, True, Path("runs/digits-2")]


def test_resume_of_a_run_needs_no_config(trained, call, tmp_path):
    """With --resume=RUN alone the config is the one in the run's folder, and overrides still apply."""
    run = tmp_path / "runs/digits"
    run.mkdir(parents=True)
    (run / "config.yaml").write_text("name: digits\ndata: {train: ../../digits.csv, target: digit}\n")

    code, _, err = call("train", "--resume=runs/digits", "training.epochs=7")

    assert code == 0, err
    assert (trained[0][0].name, trained[0][0].training.epochs) == ("digits", 7)


def test_a_table_is_trained_with_a_first_config(trained, call):
    """`fcnet train TABLE --target COLUMN` needs no config; the run is named after the table and keeps a test part."""
    code, _, err = call("train", "people.csv", "--target", "income", "optimizer=sgd")

    config = trained[0][0]
    assert code == 0, err
    assert (config.name, config.data.train, config.data.target) == ("people", "people.csv", "income")
    assert (config.data.validation, config.data.test, config.optimizer.name) == (0.15, 0.15, "sgd")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give a config"),
        (["optimizer.lr=1"], "give a config"),
        (["digits.yaml", "--resume", "--overwrite"], "give one of them"),
        (["digits.yaml", "--max-time", "soon"], '"soon" is not a time; write 90s, 30m, 2h or 1h30m'),
        (["digits.yaml", "--max-time", "0m"], "is not a time"),
        (["digits.yaml", "--budget", "9" * 400 + "d"], "is not a time"),
        (["."], "--resume=."),
        (["digits.yaml", "lr"], "lr"),
        (["digits.yaml", "--resum"], "--resume"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_what_to_write(trained, call, arguments, said):
    """A command line that cannot be meant is refused before anything is read or trained."""
    code, out, err = call("train", *arguments)

    assert (code, out, trained) == (2, "", [])
    assert err.startswith("fcnet: ")
    assert said in err
    assert err.count("\n") == 1


def test_a_run_that_is_complete_is_left_alone(api, call, scores, tmp_path):
    """Resuming a complete run shows its scores again and ends with 0."""
    (tmp_path / "digits.yaml").write_text(CONFIG)
    api.training = lambda config, **_: (
        event
        for event in (
            Notice("runs/digits is already complete"),
            Finished(Path("runs/digits"), scores, "it was complete already"),
        )
    )

    code, out, err = call("train", "digits.yaml", "--resume")

    assert code == 0
    assert out.startswith("best     epoch 31 of 50")
    assert out.endswith("next: fcnet predict YOUR.csv -c runs/digits\n")  # there may be a newer run
    assert "already complete" in err


@pytest.mark.parametrize("exit_code", [75, 130])
def test_a_stopped_run_says_how_to_go_on(api, call, head, tmp_path, exit_code):
    """A run that was stopped ends with its own code and prints the command line that resumes it."""

    def training(config, **_):
        yield Started(Path("runs/my digits"), head)
        raise Stopped("stopped at epoch 3; runs/digits/last.npz is saved", exit_code)

    (tmp_path / "my digits.yaml").write_text(CONFIG)
    api.training = training

    code, out, err = call("train", "my digits.yaml", "--overwrite", "seed=1")

    assert (code, out) == (exit_code, "")
    assert err.splitlines()[-2:] == [
        "fcnet: stopped at epoch 3; runs/digits/last.npz is saved",
        "next: fcnet train 'my digits.yaml' seed=1 --resume",
    ]


def test_the_command_that_goes_on_has_its_option_where_options_stand(api, call, tmp_path):
    """What follows `--` is no option, so --resume stands before it."""

    def training(config, **_):
        raise Stopped("stopped", 75)
        yield

    (tmp_path / "digits.yaml").write_text(CONFIG)
    api.training = training

    _, _, err = call("train", "-q", "--", "digits.yaml", "seed=1")

    assert err.splitlines()[-1] == "next: fcnet train -q --resume -- digits.yaml seed=1"


def test_every_problem_is_one_line(api, call, tmp_path):
    """All problems of an error are said, each on a line of its own that opens with its place."""

    def training(config, **_):
        raise ConfigError([Problem("unknown key", "c.yaml", 3, 5, "lr"), Problem("too\nlarge", "c.yaml", 9, 1, "seed")])
        yield

    (tmp_path / "digits.yaml").write_text(CONFIG)
    api.training = training

    code, out, err = call("train", "digits.yaml")

    assert (code, out) == (3, "")
    assert err == "fcnet: c.yaml:3:5: lr: unknown key\nfcnet: c.yaml:9:1: seed: too\\nlarge\n"


def test_a_run_elsewhere_is_named_in_the_next_command(api, call, head, scores, tmp_path):
    """Where predict would not find the run by itself, the suggested command names it."""
    (tmp_path / "digits.yaml").write_text(CONFIG)
    run = tmp_path / "my runs/digits"
    api.training = lambda config, **_: (event for event in (Started(run, head), Finished(run, scores, "done")))

    _, out, _ = call("train", "digits.yaml")

    assert (
        out.splitlines()[-1]
        == "files    my runs/digits/best.npz …     next: fcnet predict YOUR.csv -c 'my runs/digits'"
    )


def test_what_the_command_line_says_wrong_is_said_of_the_command_line(api, call):
    """Without a config every key comes from the command line, be it from an option, a file's name or KEY=VALUE."""
    twice = call("train", "people.csv", "--target", "y", "--target", "y", "seed=x")
    name = call("train", "a:b.csv", "--target", "y")

    assert twice[0] == name[0] == 3
    assert twice[2].splitlines()[0] == 'fcnet: command line: data.target: names the column "y" twice; keep one'
    assert twice[2].splitlines()[1].startswith('fcnet: command line: seed: the text "x"')
    assert name[2].startswith('fcnet: command line: name: "a:b", from the file\'s name, cannot name')
    assert name[2].endswith("give another with name=…\n")
