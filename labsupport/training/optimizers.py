"""Optimizers as values of a recipe, and which parameters they get."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from labsupport.core.errors import LabError

# As torch's optimizers take it: "params", and what differs from the recipe ("lr", "weight_decay").
ParameterGroup = dict[str, Any]
OptimizerFactory = Callable[[list[ParameterGroup], float, float], Optimizer]
Grouping = Callable[[nn.Module], list[ParameterGroup]]


@dataclass(frozen=True)
class AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019); without decay it is Adam."""

    betas: tuple[float, float] = (0.9, 0.999)

    def __call__(
        self, groups: list[ParameterGroup], lr: float, weight_decay: float
    ) -> torch.optim.AdamW:
        """The optimizer of some parameter groups."""
        return torch.optim.AdamW(
            groups, lr=lr, weight_decay=weight_decay, betas=self.betas, fused=True
        )


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent with (Nesterov) momentum (Sutskever et al. 2013, section 2).

    Raises LabError for a negative momentum, or Nesterov's without any.
    """

    momentum: float = 0.9
    nesterov: bool = True

    def __post_init__(self) -> None:
        if self.momentum < 0 or (self.nesterov and self.momentum == 0):
            problem = f"SGD with a momentum of {self.momentum}"
            raise LabError(problem, "give one above 0, or SGD(momentum=0, nesterov=False)")

    def __call__(
        self, groups: list[ParameterGroup], lr: float, weight_decay: float
    ) -> torch.optim.SGD:
        """The optimizer of some parameter groups."""
        return torch.optim.SGD(
            groups,
            lr=lr,
            weight_decay=weight_decay,
            momentum=self.momentum,
            nesterov=self.nesterov,
            fused=True,
        )


def one_group(model: nn.Module) -> list[ParameterGroup]:
    """All parameters in one group, with the recipe's rate and weight decay."""
    return [{"params": list(model.parameters())}]


def no_bias_decay(model: nn.Module) -> list[ParameterGroup]:
    """Two groups: weight decay for matrices and kernels, none for biases and norms.

    He et al. 2019, "Bag of tricks for image classification", section 3.1.
    """
    parameters = list(model.parameters())
    return [
        {"params": [p for p in parameters if p.dim() > 1]},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]


def trainable(groups: list[ParameterGroup]) -> list[ParameterGroup]:
    """The groups without frozen parameters, those that require no gradient.

    Raises LabError where none is left.
    """
    kept = [g | {"params": [p for p in g["params"] if p.requires_grad]} for g in groups]
    kept = [group for group in kept if group["params"]]
    if not kept:
        raise LabError("no parameter of the network requires a gradient", "unfreeze some of them")
    return kept
