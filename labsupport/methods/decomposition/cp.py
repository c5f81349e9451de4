"""CP: a convolution as four, each along one axis of its kernel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from labsupport.methods.decomposition.pieces import (
    by_groups,
    check_rank,
    checked_kernel,
    convolution,
    pointwise,
)
from labsupport.methods.decomposition.rank_one import Terms, exact, full_rank, stable

FitTerms = Callable[[Tensor, int], Terms]


@dataclass(frozen=True)
class CP:
    """A convolution as four: 1x1, along rows and along columns by channels, 1x1.

    Lebedev et al. 2015, "Speeding-up convolutional neural networks using fine-tuned
    CP-decomposition", section 3. `rank` is the number of terms, in each group; `fit` finds them:
    `stable`, `alternating` or a function like them.
    """

    rank: int
    fit: FitTerms = stable

    def __call__(self, layer: nn.Module, name: str) -> nn.Sequential:
        """Four convolutions in a row; all terms that there can be reproduce the layer."""
        checked_layer = checked_kernel(layer, name)
        weight = by_groups(checked_layer)
        full = full_rank(tuple(weight.shape[1:]))
        check_rank(self.rank, full, name)
        terms = [exact(of) if self.rank == full else self.fit(of, self.rank) for of in weight.cpu()]
        return four(checked_layer, terms)


def four(layer: nn.Conv2d, terms: list[Terms]) -> nn.Sequential:
    """The convolutions that sums of terms (filters, channels, rows, columns) make, a group each."""
    by_axis = zip(*(of.normalized().factors for of in terms), strict=True)
    filters, channels, rows, columns = (torch.cat([f.T for f in factors]) for factors in by_axis)
    depth = len(rows)
    return nn.Sequential(
        pointwise(layer, channels),
        convolution(layer, rows[:, None, :, None], axes=(0,), groups=depth),
        convolution(layer, columns[:, None, None, :], axes=(1,), groups=depth),
        pointwise(layer, torch.cat([f.T for f in filters.chunk(len(terms))]), bias=layer.bias),
    )
