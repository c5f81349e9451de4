"""What the signs of weights are multiplied by."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from labsupport.methods.binary.signs import sign

TINY = 1e-12  # makes all weights matter alike before the first step


class Scale(Protocol):
    """A rule for alpha, the factor of each filter; it may keep a tensor, its `memory`."""

    def start(self, weight: Tensor) -> Tensor | None:
        """The memory of a new layer, or None."""

    def alpha(self, weight: Tensor, memory: Tensor | None) -> Tensor:
        """Factors (filters,) of latent weights (filters, ...)."""

    def signs(self, weight: Tensor, memory: Tensor | None) -> Tensor:
        """The signs of latent weights, with the gradient that the rule gives them."""

    def update(self, memory: Tensor | None, gradient: Tensor) -> None:
        """Take in the gradient of a step."""


@dataclass(frozen=True)
class Unscaled:
    """All factors are one: weights are signs (Courbariaux et al. 2016)."""

    def start(self, weight: Tensor) -> Tensor | None:
        """No memory."""
        return None

    def alpha(self, weight: Tensor, memory: Tensor | None) -> Tensor:
        """Ones."""
        return weight.new_ones(len(weight))

    def signs(self, weight: Tensor, memory: Tensor | None) -> Tensor:
        """A gradient where |w| <= 1."""
        return sign(weight)

    def update(self, memory: Tensor | None, gradient: Tensor) -> None:
        """Nothing to do."""


@dataclass(frozen=True)
class MeanMagnitude(Unscaled):
    """The mean |w| of a filter, which is differentiated too.

    No other factor brings signs nearer to the weights (Rastegari et al. 2016, equation 6).
    """

    def alpha(self, weight: Tensor, memory: Tensor | None) -> Tensor:
        """The means."""
        return weight.abs().flatten(1).mean(1)


@dataclass(frozen=True)
class LossAware(Unscaled):
    """||d w||_1 / ||d||_1 of a layer, d the root of Adam's second moment of its gradients.

    The curvature that Adam estimates says which weights the loss is sensitive to (Hou et al. 2017,
    "Loss-aware binarization of deep networks", proposition 3.1). Its bias correction cancels out.
    The gradient at the binary weights is that of the latent ones (algorithm 1). `beta` is Adam's
    second one.
    """

    beta: float = 0.999

    def start(self, weight: Tensor) -> Tensor | None:
        """The second moment before any step."""
        return torch.zeros_like(weight)

    def alpha(self, weight: Tensor, memory: Tensor | None) -> Tensor:
        """The same factor for each filter; constant as far as gradients go."""
        assert memory is not None
        d = memory.sqrt() + TINY
        return ((d * weight.detach().abs()).sum() / d.sum()).expand(len(weight))

    def signs(self, weight: Tensor, memory: Tensor | None) -> Tensor:
        """Over alpha, so that alpha times the signs passes gradients straight through."""
        alpha = self.alpha(weight, memory)[0].clamp(min=TINY)
        return sign(weight / alpha, math.inf)

    def update(self, memory: Tensor | None, gradient: Tensor) -> None:
        """A step of Adam's moving average of squares."""
        assert memory is not None
        memory.mul_(self.beta).addcmul_(gradient, gradient, value=1 - self.beta)


@dataclass(frozen=True)
class Held(Unscaled):
    """Latent weights that are signs already, and factors in the memory: nothing to compute."""

    def alpha(self, weight: Tensor, memory: Tensor | None) -> Tensor:
        """The factors."""
        assert memory is not None
        return memory

    def signs(self, weight: Tensor, memory: Tensor | None) -> Tensor:
        """The weights."""
        return weight
