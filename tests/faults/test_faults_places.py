"""What only the data bring to light in a config is still reported at its line in the config."""

import pytest
from faults_cases import HEADER, SETTINGS, rows

CONFIG = """data:
  train: t.csv
  target: {target}
network: {{layers: [4]}}
training: {{epochs: 1}}
threads: 1
"""


@pytest.fixture
def place(call, tmp_path):
    (tmp_path / "t.csv").write_text("\n".join([HEADER, *rows()]) + "\n")
    (tmp_path / "c.yaml").write_text(CONFIG.format(target="label"))
    return tmp_path


@pytest.mark.parametrize("command", ["train", "check", "explain"])
def test_v47_a_target_that_is_no_column_is_named_with_its_line(call, place, command):
    """The column that the table lacks is reported where the config names it, with the columns that there are."""
    (place / "c.yaml").write_text(CONFIG.format(target="lable"))

    code, _, err = call(command, "c.yaml")

    columns = '"a", "b", "colour", "label"'
    assert code == 3
    assert err.startswith(
        f'fcnet: c.yaml:3:11: data.target: no column "lable"; did you mean "label"? the columns are {columns}'
    )
    assert not (place / "runs").exists()


def test_the_order_is_that_of_the_file_and_overrides_come_last(call, place):
    """Problems of the file come first, by line; those of the command line are named as such."""
    (place / "c.yaml").write_text(CONFIG.format(target="q").replace("  target", "  exclude: [z]\n  target"))

    code, _, err = call("train", "c.yaml", "data.categorical=[p]")

    assert code == 3
    assert [line.split(" no column")[0] for line in err.splitlines()] == [
        "fcnet: c.yaml:3:13: data.exclude.0:",
        "fcnet: c.yaml:4:11: data.target:",
        "fcnet: command line: data.categorical.0:",
        'fcnet: t.csv: the columns are "a", "b", "colour", "label"',
    ]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("loss=huber", "command line: loss: it learns regression"),
        ("data.class_weight={maybe: 2}", 'command line: data.class_weight: no class "maybe"'),
        ("metrics=[rmse]", "command line: metrics"),
    ],
)
def test_what_does_not_fit_the_task_is_named_with_its_override(call, place, override, said):
    """A setting that the task of these data refuses is wrong where it was given."""
    code, _, err = call("train", "c.yaml", override)

    assert code == 3
    assert said in err


def test_a_table_trained_without_a_config_names_the_option(call, place):
    """Without a config the target stands on the command line, and is reported there."""
    code, _, err = call("train", "t.csv", "--target", "lable", *SETTINGS)

    assert code == 3
    assert err.startswith('fcnet: command line: data.target: no column "lable"')
