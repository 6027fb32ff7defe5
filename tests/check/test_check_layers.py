"""What `check` and `explain` say about every layer that is registered, and what a config may say of layers."""

import pytest
from check_cases import prepared, settings

from fcnet import config
from fcnet.errors import ConfigError
from fcnet.nn.layers import LAYERS
from fcnet.reports import explain
from fcnet.training.gradcheck import Trial, check_gradient

SETTINGS = {"dense": {"units": 5}, "dropout": {"rate": 0.3}, "glu": {"units": 5}, "residual": {"layers": [4, 5]}}

SETTINGS |= {"heads": {"units": 5}, "batch_ensemble": {"units": 5}, "fan_out": {"members": 3}}
LOOKING_UP = ("embedding",)
FAN_OUT = {"name": "fan_out", "members": 2}


def layers(name):
    """The layer between others and inside a block; one that looks codes up in front, one of members behind these."""
    own = {"name": name, **SETTINGS.get(name, {})}
    if name in LOOKING_UP:
        return [own, 5, 4]
    if name == "fan_out":
        return [own, 5, own, 4]
    return [
        *([FAN_OUT] if name in ("heads", "batch_ensemble") else []),
        5,
        own,
        5,
        {"name": "residual", "layers": [own, 5]},
        4,
    ]


def test_an_embedding_wants_codes(tmp_path):
    """Where the table gives the net no codes to look up, an embedding is refused, and does not pass for a layer."""
    for levels in ({}, {"levels": [3, 2]}):
        with pytest.raises(ConfigError, match="embedding looks up codes of categories") as caught:
            prepared(tmp_path, network={"layers": [{"name": "embedding", **levels}, 5]})

        assert caught.value.exit_code == 3


def test_an_embedding_of_other_columns_is_refused_with_both_numbers_of_levels(tmp_path):
    """What another run has written down as found in its data is not that of these, and can be left out."""
    layers = [{"name": "embedding", "levels": [3, 2]}, 5]

    with pytest.raises(
        ConfigError, match=r"made for columns of \[3, 2\] levels, and these data have \[2, 3\]; leave"
    ) as caught:
        prepared(tmp_path, preprocess={"categorical": "codes"}, network={"layers": layers})

    assert caught.value.exit_code == 3


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_can_be_checked_and_explained(tmp_path, name):
    """The gradient is right, each equation holds, and each shows arrays that are there."""
    more = {"network": {"layers": layers(name), "activation": "tanh"}}
    more |= {"preprocess": {"categorical": "codes"}} if name in LOOKING_UP else {}

    found = explain.explanation(settings(tmp_path, **more), everything=True)

    assert all(c.passed for c in check_gradient(Trial(prepared(tmp_path, **more))))
    assert all(c.passed for c in found.checks), found.checks
    equations = [e for sections in found.parts.values() for section in sections for e in section.equations]
    assert equations
    assert all(e.text and e.code for e in equations)


@pytest.mark.parametrize("name", LAYERS)
def test_a_config_with_any_layer_reads_back(tmp_path, name):
    """Spelled out and read again, and written as YAML, it is the same config."""
    found = settings(tmp_path, network={"layers": layers(name)})

    assert config.from_mapping(config.to_mapping(found)) == found


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (["layer_nrom"], "did you mean layer_norm"),
        ([{"name": "residual", "layers": [{"unit": 4}]}], "did you mean units"),
        ([{"name": "residual", "layers": []}], "network.layers.0.layers"),
        ([{"name": "scale", "units": 3}], "network.layers.0.units: unknown key"),
        ([{"name": "heads", "units": 3, "members": 3}], "network.layers.0.members: unknown key"),
    ],
)
def test_what_is_wrong_in_a_layer_is_named(tmp_path, written, said):
    """A near miss, a wrong key inside a block and an empty block are exit 3, with their place."""
    with pytest.raises(ConfigError, match=said) as caught:
        settings(tmp_path, network={"layers": written})

    assert caught.value.exit_code == 3


def test_a_block_of_another_width_is_refused_with_its_widths(tmp_path):
    """A residual block must end as wide as it begins; how wide that is is said."""
    with pytest.raises(ConfigError, match="a residual block with 5 inputs ends in 4 units") as caught:
        prepared(tmp_path, network={"layers": [5, {"name": "residual", "layers": [4]}]})

    assert caught.value.exit_code == 3


@pytest.mark.parametrize("name", ["cosine", "pbld", "periodic", "piecewise"])
def test_numbers_are_embedded_and_all_else_passes(tmp_path, name):
    """A net is told by its data how many inputs are numbers; told otherwise, or behind a narrower layer, it is refused
    with the counts."""
    first = prepared(tmp_path, network={"layers": [name, 5]}).network
    size = first.layers[0].size
    assert (first.widths[1] - first.n_in) % (size - 1) == 0
    assert 0 < first.layers[0].numbers <= first.n_in

    for written, said in [
        ([{"name": name, "numbers": 1}, 5], f"{name} was made for 1 numbers, and these data have"),
        ([1, name], f"{name} takes the . numbers of the data, and has 1 inputs"),
    ]:
        with pytest.raises(ConfigError, match=said) as caught:
            prepared(tmp_path, network={"layers": written})
        assert caught.value.exit_code == 3


def test_blocks_within_blocks_have_an_end(tmp_path):
    """A few blocks inside one another work; hundreds are refused as a config, not as a crash."""
    inner = [5]
    for _ in range(5):
        inner = [{"name": "residual", "layers": inner}]
    assert prepared(tmp_path, network={"layers": [5, *inner]}).network.n_out == 3
    for _ in range(300):
        inner = [{"name": "residual", "layers": inner}]

    with pytest.raises(ConfigError) as caught:
        prepared(tmp_path, network={"layers": [5, *inner]})

    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ([5, {"name": "heads", "units": 5}], "no fan_out stands in front of it"),
        ([4, {"name": "residual", "layers": [FAN_OUT, 4]}], "fan_out cannot stand inside another layer"),
        ([FAN_OUT, {"name": "embedding"}], "comes before all layers that are no embeddings"),
    ],
    ids=["heads", "residual", "embedding"],
)
def test_members_have_their_place(tmp_path, written, said):
    """What belongs to members stands behind the layer that makes them, and codes are looked up before."""
    with pytest.raises(ConfigError, match=said) as caught:
        prepared(tmp_path, network={"layers": written})

    assert caught.value.exit_code == 3
