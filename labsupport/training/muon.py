"""Muon: the filters of convolutions step along orthogonal matrices, other parameters as in SGD.

Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks"; filters keep their
norm, as in that paper's record for CIFAR-10. (torch.optim.Muon takes matrices only.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from labsupport.core.errors import LabError
from labsupport.training.optimizers import ParameterGroup

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the polynomial of singular values, by Jordan


@dataclass(frozen=True)
class Muon:
    """Filters step at `share` of the rate, without decay; all else by Nesterov's SGD.

    Raises LabError for a share or a momentum that is not above 0.
    """

    momentum: float = 0.85
    filter_momentum: float = 0.6
    share: float = 0.16

    def __post_init__(self) -> None:
        for value in (self.momentum, self.filter_momentum, self.share):
            if not value > 0:
                raise LabError(f"Muon with {value}", "give momenta and a share above 0")

    def __call__(self, groups: list[ParameterGroup], lr: float, weight_decay: float) -> Optimizer:
        """The optimizer of some parameter groups."""
        return _Muon(groups, {"lr": lr, "weight_decay": weight_decay}, self)


class _Muon(Optimizer):
    def __init__(self, groups: list[ParameterGroup], defaults: dict[str, Any], how: Muon) -> None:
        super().__init__(groups, defaults)
        self.how = how

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                if p.dim() == 4:
                    self._filters(p, p.grad, group["lr"])
                else:
                    self._others(p, p.grad, group["lr"], group["weight_decay"])

    def _filters(self, p: Tensor, gradient: Tensor, lr: float) -> None:
        step = self._nesterov(p, gradient, self.how.filter_momentum)
        p.mul_(len(p) ** 0.5 / p.norm())
        p.add_(orthogonal(step.flatten(1)).view_as(p), alpha=-lr * self.how.share)

    def _others(self, p: Tensor, gradient: Tensor, lr: float, decay: float) -> None:
        p.add_(self._nesterov(p, gradient.add(p, alpha=decay), self.how.momentum), alpha=-lr)

    def _nesterov(self, p: Tensor, gradient: Tensor, momentum: float) -> Tensor:
        state = self.state[p]
        state["moving"] = momentum * state.get("moving", 0) + gradient
        return gradient.add(state["moving"], alpha=momentum)


def orthogonal(matrix: Tensor, rounds: int = 3) -> Tensor:
    """About U V^T of a matrix U S V^T, by Newton-Schulz rounds; the same shape.

    Each round maps singular values s to a s + b s^3 + c s^5, which drives those that are not tiny
    to somewhere near 1. Zero stays zero.
    """
    a, b, c = COEFFICIENTS
    x: Tensor = matrix if len(matrix) <= matrix.shape[1] else matrix.T
    x = x / x.norm().clamp(min=1e-12)
    for _ in range(rounds):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x if x.shape == matrix.shape else x.T
