"""What a layer is: its parameters, how they start, its two passes, and the equations that say what it does.

Each file beside this one holds one layer, a class that is at once its section of the config, its documentation and
itself; `__init__` finds them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from typing import Annotated, Any, Literal, Protocol, Self, TypeVar

from fcnet.backends.base import Eager
from fcnet.backends.ops import Array, Matmul, Ref, Tape
from fcnet.errors import ConfigError
from fcnet.nn.activations import Activation
from fcnet.nn.initializers import Initializer
from fcnet.nn.layout import Slot
from fcnet.nn.parametrisations import Parametrisation
from fcnet.nn.workspace import Workspace, place
from fcnet.records import dataclass
from fcnet.registry import Named

Arrays = Mapping[str, Array]
Refs = Mapping[str, Ref]
T = TypeVar("T")


@dataclass(frozen=True)
class Context:
    """What the section above the layers says where a layer says nothing, and what the columns are."""

    activation: Activation
    init: Initializer | Literal["auto"]
    dropout: float
    numbers: int = 0
    """How many of the net's inputs, the first ones, are columns of numbers: they are x[..., 0:numbers]."""
    levels: tuple[int, ...] = ()
    """The number of levels of each column of codes."""
    parametrisation: Parametrisation | None = None
    members: int = 1
    """How many rows stand for a row of the batch, one for each member that `fan_out` has made."""


@dataclass(frozen=True)
class Equation:
    """One equation of a layer: its phase, the equation as a line of text, the function that computes it, and its number
    in the derivation.

    `shows`: its arrays, what it makes first, each by where it stands in what was seen of a step: `z`, `z_out`, `δ`,
    `δ_in`, `p.W`, `g.W`, or a buffer of the layer's own; with a symbol and what it is. `expected` computes the first
    otherwise; `slope` is a function of what was seen, the array of that name in it, whose derivative the first is: the
    gradient at that array where δ is the one at the function's results. `made`: arrays that are shown, of those seen.
    """

    phase: Literal["forward", "backward"]
    text: str
    function: Callable[..., Any]
    shows: Mapping[str, tuple[str, str]]
    number: str = ""
    expected: Callable[[Arrays], Array] | None = None
    slope: tuple[str, Callable[[Arrays], Array]] | None = None
    made: Mapping[str, Callable[[Arrays], Array]] = field(default_factory=dict)


@dataclass(frozen=True)
class Names:
    """The letters of a layer's arrays: i is its number in the derivation, 0 before the first with parameters; those of
    its outputs have the number `above`."""

    i: int
    above: int

    def __call__(self, letter: str) -> str:
        """The letter with the layer's number: W_{2}."""
        return f"{letter}_{{{self.i}}}"

    @property
    def z(self) -> str:
        """Its inputs."""
        return self("Z")

    @property
    def z_out(self) -> str:
        """Its outputs."""
        return f"Z_{{{self.above}}}"

    @property
    def δ(self) -> str:
        """The gradient at its outputs, δᵢ = ∂L/∂zᵢ₊₁."""
        return f"Δ_{{{self.above - 1}}}"

    @property
    def δ_in(self) -> str:
        """The gradient at its inputs."""
        return f"Δ_{{{self.i - 1}}}"

    @property
    def inputs(self) -> tuple[str, str]:
        """The inputs, as they are shown."""
        return self.z, "the batch of inputs" if self.i <= 1 else "inputs of the layer"

    def slope(self, name: str, of: str) -> dict[str, tuple[str, str]]:
        """The gradient of a parameter, as it is shown."""
        return {f"g.{name}": (f"d{self(name)}", f"gradient of {of}")}

    @property
    def below(self) -> dict[str, tuple[str, str]]:
        """The gradient at the inputs, as it is shown."""
        return {"δ_in": (self.δ_in, "∂L/∂Z, gradient at the inputs")}

    @property
    def outputs(self) -> tuple[str, str]:
        """The outputs, as they are shown."""
        return self.z_out, "outputs of the layer"


@dataclass(frozen=True)
class Key:
    """Where a layer's random words come from: a Philox key, (2,) uint64, and the layer's path in the net.

    `ranks`: the places (n_in,) that its inputs take theirs from; None for their own.
    """

    words: Array
    path: str
    ranks: Array | None = None

    def at(self, name: str) -> Key:
        """That of one of several parameters."""
        return replace(self, path=f"{self.path}.{name}")

    @property
    def place(self) -> int:
        """The path as a number: i for layer i of the derivation, a hash for what lies within or between."""
        return place(self.path)


class Layer(Protocol):
    """A piece of the net. Rows are axis −2, units axis −1; leading axes are members of an ensemble."""

    @property
    def name(self) -> str:
        """What the config calls it."""

    def slots(self, n_in: int) -> tuple[int, list[Slot]]:
        """(n_out, parameters and buffers) for n_in inputs; those of a layer inside have its name as their path."""

    def start(self, p: Arrays, q: Arrays, key: Key, z: Array) -> None:
        """Fill those of parameters p and buffers q that do not start as their slots say, but none of layers inside;
        z (…, B, n_in) is a batch of its inputs."""

    def forward(self, k: Tape, p: Refs, q: Refs, ws: Workspace, z: Ref) -> Ref:
        """Record z_out (…, B, n_out) from z (…, B, n_in), which `ws` keeps under these names."""

    def backward(self, k: Tape, p: Refs, q: Refs, g: Refs, ws: Workspace, δ: Ref) -> Ref | None:
        """Record the gradients into g and return δ at the layer's input, where `ws.needed`. δ may be overwritten."""

    def equations(self, n: Names) -> Iterator[Equation]:
        """What it does, in the order in which it does it."""

    def described(self) -> tuple[str, str]:
        """What it is and how it starts, for tables."""

    def settled(self, given: Context) -> Self:
        """The layer with everything said that it left to the section above it."""


class Complete:
    """A layer that leaves nothing to the section above it; most of them draw nothing."""

    def settled(self, given: Context) -> Self:
        """Itself."""
        return self

    def start(self, p: Arrays, q: Arrays, key: Key, z: Array) -> None:
        """As its slots say."""


LAYERS: dict[str, type[Layer]] = {}
"""Every layer by its name; the package finds them in its files."""

Hidden = Annotated[Layer, Named(LAYERS, default="dense", bare="units")]
"""A layer as the config has it."""


def spread(layers: Sequence[Layer]) -> list[Layer]:
    """The layers with those that some of them bring along: dropout behind one that has a share to drop."""
    found: list[Layer] = []
    for layer in layers:
        found.append(layer)
        if rate := getattr(layer, "dropout", None):
            found.append(LAYERS["dropout"](rate=rate))  # type: ignore[call-arg]  # a class of the registry
    return found


def fan(layer: Layer) -> int:
    """How many rows the layer makes of one; more than 1 of few."""
    return int(getattr(layer, "fan", 1))


def driven(layer: Layer) -> dict[str, tuple[str, Callable[[Array], Array]]]:
    """The numbers of a layer that a schedule moves: by name, the rate that it is the schedule of, and the number as a
    function of the schedule's factors; most have none."""
    found: dict[str, tuple[str, Callable[[Array], Array]]] = layer.driven() if hasattr(layer, "driven") else {}
    return found


def go(layer: Layer, k: Tape, p: Refs, q: Refs, ws: Workspace, z: Ref) -> Ref:
    """Record the forward pass of one layer, after filling its parameters where the net is just being made."""
    if ws.key is not None:
        assert isinstance(k, Eager)
        own, held = ({name: k.fetch(view) for name, view in views.items()} for views in (p, q))
        layer.start(own, held, Key(ws.key, ws.path, ws.ranks), k.fetch(z))
    ws.keep("z", z)
    z_out = layer.forward(k, p, q, ws, z)
    ws.keep("z_out", z_out)
    return z_out


def within(views: Mapping[str, T], name: str) -> dict[str, T]:
    """The parameters of the layer inside that has this name."""
    return {own.removeprefix(f"{name}."): view for own, view in views.items() if own.startswith(f"{name}.")}


def drawn(W: Array, init: Initializer, key: Key) -> None:
    """Fill weights (…, n_out, n_in); each input takes what is drawn for its place, in any order of the columns."""
    init.fill(W, key.words, key.place)
    if key.ranks is not None and W.shape[-1] == len(key.ranks):
        W[...] = W[..., key.ranks]


def behind_fan_out(layer: Layer, given: Context) -> int:
    """The members that there are in front of a layer that has something for each; ConfigError where there are none."""
    if given.members == 1:
        raise ConfigError(
            f"{layer.name} has parameters of each member that fan_out makes, and no fan_out stands in front of it",
            key="network.layers",
        )
    return given.members


def product_back(k: Tape, ε: Ref, W: Ref, z: Ref, dW: Ref, δ_in: Ref | None) -> None:
    """dW = Eᵀ Z and, where it is asked for, Δ_in = E W, of a product A = Z Wᵀ."""
    k.add(Matmul(transpose(ε), z, dW))
    if δ_in is not None:
        k.add(Matmul(ε, W, δ_in))


def transpose(x: Ref) -> Ref:
    """The last two axes exchanged, without a copy."""
    return x.swapaxes(-1, -2)


def row(x: Ref) -> Ref:
    """A vector of units (…, n) as one row (…, 1, n)."""
    return x.reshape((*x.shape[:-1], 1, x.shape[-1]))
