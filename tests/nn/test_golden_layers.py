"""PyTorch as the independent second opinion on layers: outputs, gradients and running statistics."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from layer_cases import LEVELS, MEMBERS, WIDTH, codes, sample
from nn_cases import numbers
from tapes import EagerArrays

from fcnet.backends.numpy import NumpyBackend
from fcnet.nn.activations import Tanh
from fcnet.nn.layers import go
from fcnet.nn.layers.layer import fan
from fcnet.nn.workspace import Batch, Workspace

torch: Any = pytest.importorskip("torch")
F: Any = torch.nn.functional
ROWS = 6


def embedded(z: Any, p: dict[str, Any]) -> Any:
    rows = torch.tensor(np.where(codes(ROWS) < 0, sum(LEVELS), codes(ROWS) + [0, LEVELS[0]]))
    table = torch.cat([p["E"], torch.zeros(1, 2, dtype=torch.float64)])
    return torch.cat([z, *(F.embedding(rows[:, i], table) for i in range(2))], dim=1)


def gated(z: Any, p: dict[str, Any]) -> Any:
    return F.glu(F.linear(z, p["W"], p["b"]))


def heads(z: Any, p: dict[str, Any]) -> Any:
    each = zip(z.chunk(MEMBERS), p["W"], p["b"], strict=True)
    return torch.cat([torch.tanh(F.linear(*own)) for own in each])


def scaled(z: Any, p: dict[str, Any]) -> Any:
    each = zip(z.chunk(MEMBERS), p["r"], p["s"], p["b"], strict=True)
    return torch.cat([torch.tanh(F.linear(r * own, p["W"]) * s + b) for own, r, s, b in each])


SECOND_OPINIONS: dict[str, Any] = {
    "layer_norm": lambda z, p: F.layer_norm(z, (WIDTH,), p["γ"], p["β"]),
    "batch_norm": lambda z, p: F.batch_norm(z, None, None, p["γ"], p["β"], training=True),
    "glu": gated,
    "embedding": embedded,
    "scale": lambda z, p: z * p["s"],
    "fan_out": lambda z, p: torch.cat([z * r for r in p["r"]]),
    "heads": heads,
    "batch_ensemble": scaled,
}


@pytest.mark.parametrize("name", SECOND_OPINIONS)
def test_layers_agree_with_pytorch(name: str) -> None:
    """Outputs, and the gradients at inputs and parameters, in float64."""
    layer, z = sample(name, Tanh()), numbers(1, "z", ROWS, WIDTH)
    n_out, slots = layer.slots(WIDTH)
    made = {slot.key: numbers(2, slot.key, *slot.shape) for slot in slots}
    p = {slot.key: made[slot.key] for slot in slots if slot.kind != "buffer"}
    q = {slot.key: np.abs(made[slot.key]) for slot in slots if slot.kind == "buffer"}
    before = {key: value.copy() for key, value in q.items()}
    δ, g = numbers(3, "δ", ROWS * fan(layer), n_out), {key: np.empty_like(value) for key, value in p.items()}
    given, own = torch.tensor(z, requires_grad=True), {n: torch.tensor(v, requires_grad=True) for n, v in p.items()}
    expected = SECOND_OPINIONS[name](given, own)
    expected.backward(torch.tensor(δ))

    k = EagerArrays(NumpyBackend(), {"c": codes(ROWS).reshape(-1)})
    ws = Workspace("1", Batch.of(ROWS, WIDTH, n_out, np.float64, n_cat=2), (ROWS,), True, 0, np.float64)
    found = k.fetch(go(layer, k, k.refs(p), k.refs(q), ws, k.ref(z))).copy()
    down = layer.backward(k, k.refs(p), k.refs(q), k.refs(g), ws, k.ref(δ))

    np.testing.assert_allclose(found, expected.detach().numpy(), rtol=1e-10, atol=1e-12)
    assert down is not None
    np.testing.assert_allclose(k.fetch(down), given.grad.numpy(), rtol=1e-9, atol=1e-12)
    for key, parameter in own.items():
        np.testing.assert_allclose(g[key], parameter.grad.numpy(), rtol=1e-10, atol=1e-12)
    if q:  # PyTorch's running variance is that of the batch divided by B − 1
        mean, var = (torch.tensor(before[key]) for key in ("mean", "var"))
        F.batch_norm(torch.tensor(z), mean, var, training=True)
        np.testing.assert_allclose(q["mean"], mean.numpy(), rtol=1e-12)
        added = (var.numpy() - 0.9 * before["var"]) * (ROWS - 1) / ROWS
        np.testing.assert_allclose(q["var"], 0.9 * before["var"] + added, rtol=1e-12)
