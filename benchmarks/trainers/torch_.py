"""PyTorch: the plain loop that people write, with the optimizer in its fused form, which is the fastest on a CPU."""

from __future__ import annotations

import os
from collections.abc import Callable

import torch
from torch import nn

from benchmarks.cases import LEARNING_RATE, Case

VERSION = f"torch {torch.__version__}"


def eager(case: Case) -> Callable[[], float]:
    """Kernel by kernel."""
    return _trainer(case, compiled=False)


def compiled(case: Case) -> Callable[[], float]:
    """Net and loss through torch.compile."""
    return _trainer(case, compiled=True)


def bmm(case: Case, members: int) -> Callable[[], float]:
    """Several nets at once, each layer one batched product."""

    def forward(x: torch.Tensor, θ: list[torch.Tensor]) -> torch.Tensor:
        z = x.expand(members, *x.shape)
        for i in range(0, len(θ), 2):
            a = torch.baddbmm(θ[i + 1], z, θ[i])
            z = a.relu() if i + 2 < len(θ) else a
        return z

    return _pack(case, members, forward)


def vmap(case: Case, members: int) -> Callable[[], float]:
    """Several nets at once, the net of one of them mapped over all."""

    def one(θ: list[torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        for i in range(0, len(θ), 2):
            x = torch.addmm(θ[i + 1], x, θ[i])
            x = x.relu() if i + 2 < len(θ) else x
        return x

    mapped = torch.func.vmap(one, in_dims=(0, None))
    return _pack(case, members, lambda x, θ: mapped(θ, x))


def _pack(
    case: Case, members: int, forward: Callable[[torch.Tensor, list[torch.Tensor]], torch.Tensor]
) -> Callable[[], float]:
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    torch.manual_seed(0)
    x, y = map(torch.from_numpy, case.data())
    θ: list[torch.Tensor] = []
    for n_in, n_out in zip(case.widths, case.widths[1:], strict=False):
        θ += [torch.randn(members, n_in, n_out) * (2 / n_in) ** 0.5, torch.zeros(members, 1, n_out)]
    for each in θ:
        each.requires_grad_()
    optimizer = torch.optim.Adam(θ, lr=LEARNING_RATE, fused=True)

    def epoch() -> float:
        order, total = torch.randperm(case.rows), torch.zeros(())
        for start in range(0, case.rows, case.batch):
            rows = order[start : start + case.batch]
            optimizer.zero_grad(set_to_none=True)
            a = forward(x[rows], θ)
            loss = nn.functional.cross_entropy(a.flatten(0, 1), y[rows].repeat(members)) * members
            loss.backward()
            optimizer.step()
            total += loss.detach()
        return float(total) * case.batch / case.rows / members

    epoch()
    return epoch


def _trainer(case: Case, *, compiled: bool) -> Callable[[], float]:
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    torch.manual_seed(0)
    x, y = map(torch.from_numpy, case.data())
    layers: list[nn.Module] = []
    for n_in, n_out in zip(case.widths, case.widths[1:], strict=False):
        layers += [nn.Linear(n_in, n_out), nn.ReLU()]
    net = nn.Sequential(*layers[:-1])
    optimizer = torch.optim.Adam(net.parameters(), lr=LEARNING_RATE, fused=True)
    criterion = nn.CrossEntropyLoss()

    def loss_of(xb: torch.Tensor, yb: torch.Tensor) -> torch.Tensor:
        return criterion(net(xb), yb)

    loss_fn = torch.compile(loss_of) if compiled else loss_of

    def epoch() -> float:
        order, total = torch.randperm(case.rows), torch.zeros(())
        for start in range(0, case.rows, case.batch):
            rows = order[start : start + case.batch]
            optimizer.zero_grad(set_to_none=True)
            loss = loss_fn(x[rows], y[rows])
            loss.backward()
            optimizer.step()
            total += loss.detach()
        return float(total) * case.batch / case.rows

    epoch()
    return epoch
