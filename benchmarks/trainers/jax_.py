"""JAX: the step as one compiled function, called from Python or scanned over the whole epoch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.cases import LEARNING_RATE, Case

VERSION = f"jax {jax.__version__}"


def step(case: Case) -> Callable[[], float]:
    """One call a step."""
    x, y, state, make_step = _setup(case)
    one = jax.jit(lambda state, rows: make_step(state, rows, x, y), donate_argnums=0)
    random = np.random.default_rng(1)

    def epoch() -> float:
        nonlocal state
        order = random.permutation(case.rows).astype(np.int32)
        losses = []
        for start in range(0, case.rows, case.batch):
            state, loss = one(state, order[start : start + case.batch])
            losses.append(loss)
        return float(np.mean(jax.block_until_ready(losses)))

    epoch()
    return epoch


def scan(case: Case) -> Callable[[], float]:
    """One call an epoch."""
    x, y, state, make_step = _setup(case)
    whole = jax.jit(
        lambda state, order: jax.lax.scan(lambda s, rows: make_step(s, rows, x, y), state, order), donate_argnums=0
    )
    random = np.random.default_rng(1)

    def epoch() -> float:
        nonlocal state
        order = random.permutation(case.rows).astype(np.int32).reshape(-1, case.batch)
        state, losses = whole(state, order)
        return float(losses.mean())

    epoch()
    return epoch


def _setup(case: Case) -> tuple[Any, Any, Any, Callable[..., Any]]:
    x, y = map(jnp.asarray, case.data())
    random = np.random.default_rng(0)
    θ = [
        (jnp.asarray(random.standard_normal((m, n), dtype=np.float32) * (2 / m) ** 0.5), jnp.zeros(n, jnp.float32))
        for m, n in zip(case.widths, case.widths[1:], strict=False)
    ]

    def loss(θ: Any, xb: Any, yb: Any) -> Any:
        for W, b in θ[:-1]:
            xb = jax.nn.relu(xb @ W + b)
        W, b = θ[-1]
        return -jnp.take_along_axis(jax.nn.log_softmax(xb @ W + b), yb[:, None], 1).mean()

    def make_step(state: Any, rows: Any, x: Any, y: Any) -> Any:
        θ, m, v, t = state
        value, g = jax.value_and_grad(loss)(θ, x[rows], y[rows])
        t = t + 1
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
        rate = LEARNING_RATE / (1 - 0.9**t)
        root = jnp.sqrt(1 - 0.999**t)
        θ = jax.tree.map(lambda θ, m, v: θ - rate * m / (jnp.sqrt(v) / root + 1e-8), θ, m, v)
        return (θ, m, v, t), value

    zeros = lambda: jax.tree.map(jnp.zeros_like, θ)  # noqa: E731  # two trees, not one twice: they are donated
    return x, y, (θ, zeros(), zeros(), jnp.zeros((), jnp.float32)), make_step
