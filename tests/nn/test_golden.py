"""PyTorch as the independent second opinion: losses, activations, and fifty steps of every optimizer and schedule."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from nn_cases import ACTIVATION_CASES, LOSS_CASES, numbers, targets
from tapes import EagerArrays

from fcnet.backends.numpy import NumpyBackend
from fcnet.backends.ops import Apply, Array
from fcnet.data.source import MemorySource
from fcnet.formulas import Formula, Sym
from fcnet.nn.activations import Tanh, owned
from fcnet.nn.initializers import GlorotUniform
from fcnet.nn.layers import Dense
from fcnet.nn.losses import CrossEntropy, LossArrays, forward_backward
from fcnet.nn.network import Network
from fcnet.nn.rows import Rows
from fcnet.optim.rules import OPTIMIZERS, Adam, AdamW, Optimizer, RmsProp, Sgd
from fcnet.optim.schedules import (
    SCHEDULES,
    Constant,
    CosineDecay,
    CosLog,
    Exponential,
    FlatCos,
    Linear,
    OneCycle,
    Schedule,
    StepDecay,
)
from fcnet.optim.update import Updater
from fcnet.training.loop import Plan, train
from fcnet.training.program import Program
from fcnet.training.state import State

torch: Any = pytest.importorskip("torch")
torch.set_num_threads(1)  # the arrays are tiny
F: Any = torch.nn.functional

EXTREMES = [0.0, -0.0, 1e-8, -1e-8, 1.0, -1.0, 30.0, -30.0, 1000.0, -1000.0]

# of the pre-activations, and of the parameters that some own
TORCH_ACTIVATIONS: dict[str, Callable[..., Any]] = {
    "identity": lambda a: a * 1.0,
    "relu": F.relu,
    "leaky_relu": lambda a: F.leaky_relu(a, 0.01),
    "leaky_relu(0.3)": lambda a: F.leaky_relu(a, 0.3),
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softplus": lambda a: torch.logaddexp(a, torch.zeros_like(a)),
    "elu": F.elu,
    "elu(0.7)": lambda a: F.elu(a, 0.7),
    "selu": F.selu,
    "gelu": F.gelu,
    "gelu_tanh": lambda a: F.gelu(a, approximate="tanh"),
    "silu": F.silu,
    "mish": F.mish,
    "softmax": lambda a: F.softmax(a, dim=-1),
    "prelu": F.prelu,
    "parametric": lambda a, α: a + (F.selu(a) - a) * α,
}


def pinball(a: Any, y: Any, levels: list[float]) -> Any:
    """The mean of every level's, each weighing what lies above by the level and what lies below by the rest."""
    d = [y - part for part in a.chunk(len(levels), -1)]
    each = [τ * F.relu(d) + (1 - τ) * F.relu(-d) for τ, d in zip(levels, d, strict=True)]
    return torch.stack(each).mean(0).mean(-1)


def gaussian(μ: Any, s: Any, y: Any) -> Any:
    """Of a deviation that is at least a thousandth."""
    σ = torch.logaddexp(s, torch.zeros_like(s)) + 1e-3
    return F.gaussian_nll_loss(μ, y, σ**2, eps=1e-30, reduction="none").mean(-1)


def poisson(a: Any, y: Any) -> Any:
    """Less its least value; from a = 50 on its tangent there."""
    far = F.relu(a - 50)
    loss = F.poisson_nll_loss(a - far, y, log_input=True, reduction="none") + far * (a.clamp(max=50).exp() - y)
    return (loss + torch.xlogy(y, y) - y).mean(-1)


def focal(a: Any, y: Any, gamma: float) -> Any:
    """Of a single true class."""
    ce = F.cross_entropy(a, y.argmax(-1), reduction="none")
    some = torch.where(ce > 0, ce, torch.ones_like(ce))
    return torch.where(ce > 0, (-torch.expm1(-some)) ** gamma * some, torch.zeros_like(ce))


def tweedie(a: Any, y: Any, power: float) -> Any:
    """By the mean itself, within what float64 holds."""
    m = a.clamp(-50, 50).exp()
    least = torch.where(y > 0, y ** (2 - power), torch.zeros_like(y)) / ((1 - power) * (2 - power))
    loss = least - y * m ** (1 - power) / (1 - power) + m ** (2 - power) / (2 - power)
    return (loss + (m ** (2 - power) - y * m ** (1 - power)).detach() * (a - a.clamp(-50, 50))).mean(-1)


def gamma(a: Any, y: Any) -> Any:
    """By the ratio; below a = -50 its tangent there."""
    near = a.clamp(min=-50)
    r = y * (-near).exp()
    return (r - 1 - torch.log(y) + near + (1 - r.detach()) * (a - near)).mean(-1)


# ℓ of each row; y as fcnet has it, one-hot or numbers
TORCH_LOSSES: dict[str, Callable[[Any, Any], Any]] = {
    "squared_error": lambda a, y: F.mse_loss(a, y, reduction="none").mean(-1),
    "absolute_error": lambda a, y: F.l1_loss(a, y, reduction="none").mean(-1),
    "huber": lambda a, y: F.huber_loss(a, y, reduction="none").mean(-1),
    "huber(0.4)": lambda a, y: F.huber_loss(a, y, reduction="none", delta=0.4).mean(-1),
    "cross_entropy": lambda a, y: F.cross_entropy(a, y.argmax(-1), reduction="none"),
    "cross_entropy(0.2)": lambda a, y: F.cross_entropy(a, y.argmax(-1), reduction="none", label_smoothing=0.2),
    "binary_cross_entropy": lambda a, y: F.binary_cross_entropy_with_logits(a, y, reduction="none").mean(-1),
    "quantile": lambda a, y: pinball(a, y, [0.1, 0.5, 0.9]),
    "quantile(0.2, 0.7)": lambda a, y: pinball(a, y, [0.2, 0.7]),
    "gaussian": lambda a, y: gaussian(*a.chunk(2, -1), y),
    "poisson": poisson,
    "log_cosh": lambda a, y: (torch.logaddexp(a - y, y - a) - np.log(2)).mean(-1),
    "focal": lambda a, y: focal(a, y, 2.0),
    "focal(0.5)": lambda a, y: focal(a, y, 0.5),
    "focal(0)": lambda a, y: F.cross_entropy(a, y.argmax(-1), reduction="none"),
    "hinge": lambda a, y: (a + (1 - y)).amax(-1) - (a * y).sum(-1),
    "gamma": gamma,
    "tweedie": lambda a, y: tweedie(a, y, 1.5),
    "tweedie(1.9)": lambda a, y: tweedie(a, y, 1.9),
}


def test_every_member_has_a_second_opinion() -> None:
    """Whatever is registered is compared with PyTorch: a new activation or loss needs its line in the tables above."""
    assert set(TORCH_ACTIVATIONS) == set(ACTIVATION_CASES)
    assert set(TORCH_LOSSES) == set(LOSS_CASES)
    # in tests/optim, what moves matrices as a whole is compared with their singular values, and schedule_free, which
    # PyTorch has not, with its three published sequences
    elementwise = [cls for name, cls in OPTIMIZERS.items() if not hasattr(cls, "direction") and name != "schedule_free"]
    assert {type(rule).__name__ for rule in RULES.values()} == {cls.__name__ for cls in elementwise}
    assert {name.split()[0] for name in RATES} == set(SCHEDULES)


def parameters(name: str, width: int, dtype: Any = np.float64) -> dict[str, Array]:
    """Some numbers for what the activation owns, a row each."""
    slots = owned(ACTIVATION_CASES[name], width)
    return {slot.name: numbers(6, slot.name, 1, *slot.shape).astype(dtype) for slot in slots}


def activate(name: str, a: Array, δ: Array) -> tuple[Array, Array, dict[str, Array]]:
    """(z, ε, gradients of its own parameters) by fcnet's kernels, in a's dtype."""
    f: Any = ACTIVATION_CASES[name]
    z, ε, own = np.empty_like(a), np.empty_like(a), parameters(name, a.shape[-1], a.dtype)
    k, held = EagerArrays(NumpyBackend()), {"a": a, "z": z, "δ": δ, **own}
    k.add(Apply(Formula({"z": f.f(Sym("a"))}), k.refs({"a": a, **own}), {"z": k.ref(z)}))
    back = {"ε": f.vjp(Sym("a"), Sym("z"), Sym("δ"))} | (f.slopes(Sym("a"), Sym("z"), Sym("δ")) if own else {})
    used = {each: array for each, array in held.items() if each in Formula(back).symbols()}
    g = {each: np.empty(a.shape[-1], a.dtype) for each in own}
    k.add(Apply(Formula(back), k.refs(used), {"ε": k.ref(ε)}, k.refs(g)))
    return z, ε, g


def points(width: int) -> Array:
    """Rows of ordinary numbers, and rows with one extreme number among them."""
    rows = 3.0 * numbers(7, "points", 40, width)
    for i, extreme in enumerate(EXTREMES):
        rows[i, i % width] = extreme
    return rows


@pytest.mark.parametrize("width", [1, 5])
@pytest.mark.parametrize("name", ACTIVATION_CASES)
def test_activations_agree_with_pytorch(name: str, width: int) -> None:
    """Value and vector-Jacobian product in float64, ±1000 included, to 1e-10 relative or 1e-12 absolute."""
    a, δ = points(width), numbers(8, "δ", 40, width)
    t = torch.tensor(a, requires_grad=True)
    own = {each: torch.tensor(array[0], requires_grad=True) for each, array in parameters(name, width).items()}
    z = TORCH_ACTIVATIONS[name](t, *own.values())
    z.backward(torch.tensor(δ))

    ours, ε, g = activate(name, a, δ)

    np.testing.assert_allclose(ours, z.detach().numpy(), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(ε, t.grad.numpy(), rtol=1e-10, atol=1e-12)
    for each, parameter in own.items():
        np.testing.assert_allclose(g[each], parameter.grad.numpy(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ACTIVATION_CASES)
def test_m3_activations_in_float32_are_those_of_float64(name: str) -> None:
    """Single precision gives the float64 values to 1e-6, and stays finite at ±1000."""
    a, δ = points(5).astype(np.float32), numbers(8, "δ", 40, 5).astype(np.float32)

    z, ε, _ = activate(name, a, δ)
    exact_z, exact_ε, _ = activate(name, a.astype(np.float64), δ.astype(np.float64))

    np.testing.assert_allclose(z, exact_z, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(ε, exact_ε, rtol=1e-6, atol=2e-6)


def losses(name: str, a: Array, y: Array, w: Array) -> tuple[Array, Array, float]:
    """(w ℓ, ε, total) with scale 1, in a's dtype."""
    ε, ℓ, total = np.empty_like(a), np.empty((len(a), 1), a.dtype), np.zeros((), np.float64)
    k, scale = EagerArrays(NumpyBackend()), np.ones((), a.dtype)
    given = (k.ref(x) for x in (a, y.astype(a.dtype), w.astype(a.dtype), scale))
    forward_backward(k, LOSS_CASES[name], *given, LossArrays(k.ref(ε), k.ref(ℓ), k.ref(total)))
    return ℓ, ε, float(total)


@pytest.mark.parametrize("width", [1, 2, 5])
@pytest.mark.parametrize("name", LOSS_CASES)
def test_losses_agree_with_pytorch(name: str, width: int) -> None:
    """Value, sum and gradient with row weights in float64, logits of ±1000 included, to 1e-10 or 1e-12 absolute."""
    a, y = points(width * len(LOSS_CASES[name].parts)), targets(LOSS_CASES[name], 40, width, 9)
    w = np.abs(numbers(9, "w", 40, 1))
    t = torch.tensor(a, requires_grad=True)
    each = torch.tensor(w[:, 0]) * TORCH_LOSSES[name](t, torch.tensor(y))
    each.sum().backward()

    ℓ, ε, total = losses(name, a, y, w)

    np.testing.assert_allclose(ℓ[:, 0], each.detach().numpy(), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(ε, t.grad.numpy(), rtol=1e-10, atol=1e-12)
    assert total == pytest.approx(float(each.detach().sum()), rel=1e-10)


@pytest.mark.parametrize("name", LOSS_CASES)
def test_m1_m2_losses_in_float32_are_those_of_float64(name: str) -> None:
    """Single precision is finite at logits of ±1000 and equals the float64 value to 1e-6."""
    wide = 5 * len(LOSS_CASES[name].parts)
    a, y = points(wide).astype(np.float32), targets(LOSS_CASES[name], 40, 5, 9).astype(np.float32)
    w = np.ones((40, 1), np.float32)

    ℓ, ε, _ = losses(name, a, y, w)
    exact_ℓ, exact_ε, _ = losses(name, a.astype(np.float64), y, w)

    np.testing.assert_allclose(ℓ, exact_ℓ, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(ε, exact_ε, rtol=1e-6, atol=1e-6)


# fifty steps: 10 epochs of 5 steps, the last with 5 rows
N, BATCH, EPOCHS, STEPS = 37, 8, 10, 50

RULES: dict[str, Optimizer] = {
    "sgd": Sgd(lr=0.1),
    "sgd momentum": Sgd(lr=0.05, momentum=0.9),
    "sgd nesterov": Sgd(lr=0.05, momentum=0.8, nesterov=True),
    "sgd decay": Sgd(lr=0.1, weight_decay=0.05),
    "sgd everything": Sgd(lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.02),
    "rmsprop": RmsProp(lr=0.01),
    "rmsprop momentum": RmsProp(lr=0.005, alpha=0.9, eps=1e-6, momentum=0.7, weight_decay=0.03),
    "adam": Adam(lr=0.02),
    "adam decay": Adam(lr=0.02, beta1=0.8, beta2=0.95, eps=1e-6, weight_decay=0.1),
    "adamw": AdamW(lr=0.02),
    "adamw decay": AdamW(lr=0.02, beta1=0.85, beta2=0.99, eps=1e-7, weight_decay=0.5),
    "adamw no decay": AdamW(lr=0.02, weight_decay=0.0),
}

# the schedule, and PyTorch's scheduler with how often it moves; or, with warm-up, the factor at step k written out
RATES: dict[str, tuple[Schedule, Callable[[Any], Any] | Callable[[int], float], str]] = {
    "constant": (Constant(), lambda o: torch.optim.lr_scheduler.ConstantLR(o, factor=1.0), "step"),
    "step": (StepDecay(every=3, factor=0.5), lambda o: torch.optim.lr_scheduler.StepLR(o, 3, 0.5), "epoch"),
    "exponential": (Exponential(factor=0.8), lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.8), "epoch"),
    "cosine": (CosineDecay(), lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, STEPS), "step"),
    "linear": (
        Linear(end=0.1),
        lambda o: torch.optim.lr_scheduler.LinearLR(o, start_factor=1.0, end_factor=0.1, total_iters=STEPS),
        "step",
    ),
    "flat_cos": (
        FlatCos(hold=0.4),
        lambda k: 1.0 if k < 20 else (1 + math.cos(math.pi * (k - 20) / 30)) / 2,
        "lambda",
    ),
    "coslog": (CosLog(), lambda k: math.sin(math.pi * math.log2(1 + 15 * k / 50)) ** 2, "lambda"),
    "one_cycle": (
        OneCycle(),
        lambda k: (
            1 - 0.96 * math.cos(math.pi * k / 30) ** 2
            if k < 15
            else 1 - (1 - 4e-6) * math.sin(math.pi * (k - 15) / 70) ** 2
        ),
        "lambda",
    ),
    "constant warmup": (Constant(warmup=0.3), lambda k: min((k + 1) / 15, 1.0), "lambda"),
    "step warmup": (
        StepDecay(every=2, factor=0.5, warmup=0.2),
        lambda k: (k + 1) / 10 if k < 10 else 0.5 ** ((k - 10) // 5 // 2),
        "lambda",
    ),
    "exponential warmup": (
        Exponential(factor=0.8, warmup=0.2),
        lambda k: (k + 1) / 10 if k < 10 else 0.8 ** ((k - 10) // 5),
        "lambda",
    ),
    "cosine warmup": (
        CosineDecay(end=0.05, warmup=0.1),
        lambda k: (k + 1) / 5 if k < 5 else 0.05 + 0.95 * math.cos(math.pi * (k - 5) / 90) ** 2,
        "lambda",
    ),
    "linear warmup": (Linear(warmup=0.1), lambda k: (k + 1) / 5 if k < 5 else (50 - k) / 45, "lambda"),
}


def made(rule: Optimizer, clip_norm: float | None = None) -> tuple[Program, MemorySource, Array]:
    """A net of 4 → 5 tanh → 3 under cross-entropy with its initial θ, and its rows, all in float64."""
    network = Network([Dense(5, Tanh(), GlorotUniform()), Dense(3, Tanh(), GlorotUniform())], 4)
    state = State.new(network, rule.vectors(), np.float64)
    θ = network.layout.views(state.θ)
    for name, view in θ.items():
        view[...] = 0.5 * numbers(11, name, *view.shape)
    source = MemorySource(Rows(numbers(11, "x", N, 4)), np.arange(N) % 3, one_hot=np.eye(3), seed=4)
    program = Program(NumpyBackend(), network, CrossEntropy(), Updater(rule, network.layout, clip_norm), state)
    return program, source, source.inputs.x


def by_pytorch(rule: Optimizer, rate: str, clip_norm: float | None) -> dict[str, Array]:
    """The parameters after fifty steps by torch.optim, with autograd and PyTorch's own clipping and schedulers."""
    program, source, x = made(rule)
    start = program.network.layout.views(program.state.θ)
    p = {name: torch.tensor(view.copy(), requires_grad=True) for name, view in start.items()}
    decay = rule.weight_decay
    groups = [
        {"params": [p["b1"], p["b2"]], "weight_decay": 0.0},
        {"params": [p["W1"], p["W2"]], "weight_decay": decay},
    ]
    optimizer = torch_optimizer(rule, groups)
    _, schedule, moves = RATES[rate]
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule) if moves == "lambda" else schedule(optimizer)
    x, y = torch.tensor(x), torch.arange(N) % 3
    for epoch in range(EPOCHS):
        for at in range(0, N, BATCH):
            rows = torch.tensor(source.order(epoch, at, min(at + BATCH, N)).copy())
            hidden = torch.tanh(F.linear(x[rows], p["W1"], p["b1"]))
            loss = F.cross_entropy(torch.tanh(F.linear(hidden, p["W2"], p["b2"])), y[rows])
            optimizer.zero_grad()
            loss.backward()
            if clip_norm is not None:
                torch.nn.utils.clip_grad_norm_(p.values(), clip_norm)
            optimizer.step()
            if moves != "epoch":
                scheduler.step()
        if moves == "epoch":
            scheduler.step()
    return {name: value.detach().numpy() for name, value in p.items()}


def torch_optimizer(rule: Any, groups: list[dict[str, Any]]) -> Any:
    match rule:
        case Sgd():
            return torch.optim.SGD(groups, rule.lr, momentum=rule.momentum, nesterov=rule.nesterov)
        case RmsProp():
            return torch.optim.RMSprop(groups, rule.lr, alpha=rule.alpha, eps=rule.eps, momentum=rule.momentum)
        case Adam() | AdamW():
            kind = torch.optim.Adam if isinstance(rule, Adam) else torch.optim.AdamW
            return kind(groups, rule.lr, betas=(rule.beta1, rule.beta2), eps=rule.eps)
    raise AssertionError("no second opinion on this optimizer")


@pytest.mark.parametrize("clip_norm", [None, 0.1], ids=["free", "clipped"])
@pytest.mark.parametrize("rule", RULES)
def test_fifty_steps_agree_with_pytorch(rule: str, clip_norm: float | None) -> None:
    """Under every schedule, with and without warm-up and clipping, θ is PyTorch's to 1e-9 relative."""
    for rate, (schedule, _, _) in RATES.items():
        program, source, _ = made(RULES[rule], clip_norm)
        plan = Plan(EPOCHS, BATCH, schedule)

        events = list(train(program, source, plan, None))

        assert program.state.step == STEPS
        assert events
        expected = by_pytorch(RULES[rule], rate, clip_norm)
        for name, view in program.network.layout.views(program.state.θ).items():
            error = np.linalg.norm(view - expected[name]) / np.linalg.norm(expected[name])
            assert error < 1e-9, (rate, name, error)


def test_the_comparison_sees_a_small_difference() -> None:
    """A learning rate that is off by a millionth moves θ by far more than the comparison allows."""
    right, wrong = by_pytorch(Adam(lr=0.02), "cosine", None), by_pytorch(Adam(lr=0.02 * (1 + 1e-6)), "cosine", None)

    assert max(np.linalg.norm(right[n] - wrong[n]) / np.linalg.norm(right[n]) for n in right) > 1e-8
