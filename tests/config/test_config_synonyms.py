"""The names that people bring from other programs lead to ours, and every one of ours that is suggested exists."""

from __future__ import annotations

import pytest

from fcnet.config import from_mapping
from fcnet.config.kinds import at
from fcnet.config.messages import wrong_name
from fcnet.config.schema import Config
from fcnet.config.synonyms import KEYS, NAMES, NEAREST, bare, key
from fcnet.errors import ConfigError
from fcnet.metrics import METRICS
from fcnet.nn.activations import ACTIVATIONS
from fcnet.nn.initializers import INITIALIZERS
from fcnet.nn.losses import LOSSES
from fcnet.optim.rules import OPTIMIZERS
from fcnet.optim.schedules import SCHEDULES
from fcnet.optim.solvers import SOLVERS

REGISTRIES = {
    "loss": LOSSES,
    "optimizer": {**OPTIMIZERS, **SOLVERS},
    "schedule": SCHEDULES,
    "network.activation": ACTIVATIONS,
    "network.init": INITIALIZERS,
}


def said(**more: object) -> str:
    """What is said about a config with these keys."""
    with pytest.raises(ConfigError) as caught:
        from_mapping({"data": {"train": "a.csv", "target": "y"}, **more})
    return str(caught.value)


def test_every_name_that_is_suggested_exists() -> None:
    """No synonym leads to a name that no registry and no key has."""
    constants = [
        "numpy",
        "numba",
        "float32",
        "float64",
        "multiclass",
        "binary",
        "regression",
        "standard",
        "one_hot",
        "balanced",
        "auto",
    ]
    known = {name for registry in REGISTRIES.values() for name in registry} | {*METRICS, *constants, "median"}

    for ours in (*NAMES.values(), *NEAREST.values()):
        assert set(ours) <= known


@pytest.mark.parametrize("ours", sorted(set(KEYS.values())))
def test_every_key_that_is_suggested_exists(ours: str) -> None:
    """A config may have each of the keys that synonyms lead to."""
    tree = {"optimizer": {"name": "sgd" if "nesterov" in ours else "adam"}, "schedule": {"name": "cosine"}}

    assert at(tuple(ours.split(".")), tree)


def test_no_name_of_ours_is_said_to_be_another() -> None:
    """What stands in a registry is never corrected."""
    for registry in REGISTRIES.values():
        for name in registry:
            assert f"did you mean {name}?" in wrong_name(name.title(), registry)


def test_spellings_do_not_collide() -> None:
    """Names that are one when blanks and capitals are left out stand once, and not where our own name is found."""
    for table in (NAMES, NEAREST, KEYS):
        assert len({bare(theirs) for theirs in table}) == len(table)
    assert not {bare(name) for name in NAMES} & {bare(name) for name in NEAREST}
    assert not {theirs for theirs, ours in NAMES.items() if {*map(bare, ours)} == {bare(theirs)}}
    for registry in REGISTRIES.values():
        assert not {*registry} & {*NEAREST}


@pytest.mark.parametrize(
    ("where", "theirs", "ours"),
    [
        ("loss", "categorical_crossentropy", "cross_entropy"),
        ("loss", "sparse_categorical_crossentropy", "cross_entropy"),
        ("loss", "CrossEntropyLoss", "cross_entropy"),
        ("loss", "nn.NLLLoss", "cross_entropy"),
        ("loss", "ce", "cross_entropy"),
        ("loss", "binary_crossentropy", "binary_cross_entropy"),
        ("loss", "BCEWithLogitsLoss", "binary_cross_entropy"),
        ("loss", "bce", "binary_cross_entropy"),
        ("loss", "mse", "squared_error"),
        ("loss", "MSELoss", "squared_error"),
        ("loss", "mean_squared_error", "squared_error"),
        ("loss", "rmse", "squared_error"),
        ("loss", "l2", "squared_error"),
        ("loss", "mae", "absolute_error"),
        ("loss", "L1Loss", "absolute_error"),
        ("loss", "mean-absolute-error", "absolute_error"),
        ("loss", "smooth_l1", "huber"),
        ("loss", "SmoothL1Loss", "huber"),
        ("network.activation", "swish", "silu"),
        ("network.activation", "SiLU", "silu"),
        ("network.activation", "linear", "identity"),
        ("network.activation", "logistic", "sigmoid"),
        ("network.activation", "lrelu", "leaky_relu"),
        ("network.activation", "LeakyReLU", "leaky_relu"),
        ("network.init", "xavier", "glorot_uniform"),
        ("network.init", "kaiming_normal", "he_normal"),
        ("optimizer", "torch.optim.AdamW", "adamw"),
        ("optimizer", "RMSprop", "rmsprop"),
        ("optimizer", "Adam(lr=0.1)", "adam"),
        ("schedule", "StepLR", "step"),
        ("schedule", "CosineAnnealingLR", "cosine"),
        ("schedule", "cosine_annealing", "cosine"),
        ("metrics", "f1_score", "f1_macro"),
        ("metrics", "acc", "accuracy"),
        ("metrics", "auc", "roc_auc"),
        ("metrics", "r2_score", "r2"),
        ("metrics", "mse", "rmse"),
        ("metrics", "mean_absolute_error", "mae"),
        ("metrics", "logloss", "log_loss"),
        ("dtype", "double", "float64"),
    ],
)
def test_a_name_of_another_program_leads_to_ours(where: str, theirs: str, ours: str) -> None:
    """The error names the one that was meant, which then is accepted."""
    section, _, last = where.rpartition(".")

    def config(value: str) -> dict[str, object]:
        written: object = [value] if where == "metrics" else value
        return {section: {last: written}} if section else {last: written}

    assert f"did you mean {ours}?" in said(**config(theirs))
    assert isinstance(from_mapping({"data": {"train": "a.csv", "target": "y"}, **config(ours)}), Config)


@pytest.mark.parametrize(
    ("where", "theirs", "ours"),
    [
        ("optimizer", "nadam", "adam"),
        ("optimizer", "Lion", "adamw"),
        ("schedule", "ReduceLROnPlateau", "cosine"),
        ("loss", "squared_hinge", "hinge"),
        ("network", "relu6", "relu"),
    ],
)
def test_what_there_is_not_leads_to_the_nearest(where: str, theirs: str, ours: str) -> None:
    """A name that is known and has no equal is not said to be meant as another."""
    text = said(**{where: {"activation": theirs} if where == "network" else theirs})

    assert f'there is no "{theirs}"; the nearest is {ours}; there are ' in text


def test_what_only_trees_have_is_said_to_be_of_them() -> None:
    """Their depth is no number of epochs, which is called alike."""
    assert "max_depth: unknown key; there is no tree; network.layers is the net's size" in said(max_depth=3)


def test_where_nothing_is_near_nothing_is_suggested() -> None:
    """FTRL is no misspelling of any of ours."""
    assert 'optimizer: there is no "ftrl"; there are sgd, ' in said(optimizer="ftrl")


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("learning_rate", "optimizer.lr"),
        ("n_epochs", "training.epochs"),
        ("batch", "training.batch_size"),
        ("hidden_layer_sizes", "network.layers"),
        ("dropout_rate", "network.dropout"),
        ("random_state", "seed"),
        ("val_split", "data.validation"),
        ("test_size", "data.test"),
        ("label", "data.target"),
        ("loss_function", "loss"),
        ("input_features", "data.features"),
        ("output_features", "data.target"),
        ("trainer", "training"),
        ("Learning-Rate", "optimizer.lr"),
    ],
)
def test_a_key_of_another_program_leads_to_ours(theirs: str, ours: str) -> None:
    """At the top level the whole key is named, in its section the rest of it."""
    section, _, last = ours.rpartition(".")

    assert f"{theirs}: unknown key; did you mean {ours}?" in said(**{theirs: 1})
    if section:
        assert f"{theirs}: unknown key; did you mean {last}?" in said(
            **{section: {theirs: 1}} | ({} if section != "data" else {"data": {"train": "a.csv", theirs: 1}})
        )
    assert key(theirs) == ours
