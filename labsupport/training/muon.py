"""Muon: the filters of convolutions step along orthogonal matrices, other parameters as in SGD.

Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks". Before each step a
layer's filters are scaled to the norm sqrt(filters), as in Jordan's record for CIFAR-10,
airbench94_muon.py. (torch.optim.Muon takes matrices only.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch import Tensor
from torch.optim import Optimizer

from labsupport.core.errors import LabError
from labsupport.training.optimizers import ParameterGroup

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the polynomial of singular values, by Jordan
TINY = 1e-12  # below any norm that is not zero


@dataclass(frozen=True)
class Muon:
    """Filters step at `share` of the rate, without decay; all else by Nesterov's SGD.

    For layers with a batch norm behind them, which undoes the scale that their filters are given. A
    filter is any parameter of four dimensions with more than a number for each of the first, so
    that cores of tensor trains count as some, quantization steps do not.

    Raises LabError for a momentum outside (0, 1), and a share that is not above 0 or not finite.
    """

    momentum: float = 0.85
    filter_momentum: float = 0.6
    share: float = 0.16

    def __post_init__(self) -> None:
        for name in ("momentum", "filter_momentum"):
            if not 0 < (value := getattr(self, name)) < 1:
                raise LabError(f"Muon with a {name} of {value}", "give a number between 0 and 1")
        if not 0 < self.share < float("inf"):
            raise LabError(f"Muon with a share of {self.share}", "give a number above 0")

    def __call__(self, groups: list[ParameterGroup], lr: float, weight_decay: float) -> Optimizer:
        """The optimizer of some parameter groups."""
        return _Muon(groups, {"lr": lr, "weight_decay": weight_decay} | asdict(self))


class _Muon(Optimizer):
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        with torch.enable_grad():
            loss = closure() if closure else None
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    move = self._filters if _are_filters(p) else self._others
                    move(p, p.grad, group)
        return loss

    def _filters(self, p: Tensor, gradient: Tensor, group: ParameterGroup) -> None:
        step = self._nesterov(p, gradient, group["filter_momentum"])
        p.mul_(len(p) ** 0.5 / p.norm().clamp(min=TINY))
        p.add_(orthogonal(step.flatten(1)).view_as(p), alpha=-group["lr"] * group["share"])

    def _others(self, p: Tensor, gradient: Tensor, group: ParameterGroup) -> None:
        decayed = gradient.add(p, alpha=group["weight_decay"])
        p.add_(self._nesterov(p, decayed, group["momentum"]), alpha=-group["lr"])

    def _nesterov(self, p: Tensor, gradient: Tensor, momentum: float) -> Tensor:
        state = self.state[p]
        state["moving"] = momentum * state.get("moving", 0) + gradient
        return gradient.add(state["moving"], alpha=momentum)


def _are_filters(p: Tensor) -> bool:
    return p.dim() == 4 and p[0].numel() > 1


def orthogonal(matrix: Tensor, rounds: int = 3) -> Tensor:
    """About U V^T of a matrix U S V^T, by Newton-Schulz rounds; the same shape.

    Each round maps singular values s to a s + b s^3 + c s^5. Of a matrix of norm 1, three rounds
    bring those from about .02 up to somewhere near 1. Zero stays zero.
    """
    a, b, c = COEFFICIENTS
    x: Tensor = matrix if len(matrix) <= matrix.shape[1] else matrix.T
    x = x.to(torch.promote_types(x.dtype, torch.bfloat16))  # float16 would overflow
    x = x / x.norm().clamp(min=TINY)
    for _ in range(rounds):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return (x if x.shape == matrix.shape else x.T).to(matrix.dtype)
