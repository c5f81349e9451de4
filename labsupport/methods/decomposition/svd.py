"""Truncated SVD: a linear layer or a convolution as two, with few channels between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from labsupport.methods.decomposition.pieces import (
    by_groups,
    check_channels,
    check_rank,
    checked,
    convolution,
    linear,
    pointwise,
)


@dataclass(frozen=True)
class SVD:
    """A linear layer as two of `rank` units between them, a convolution as itself and a 1x1 one.

    Denton et al. 2014, "Exploiting linear structure within convolutional networks", section 3.2;
    for convolutions Zhang et al. 2016, "Accelerating very deep convolutional networks", section 3,
    on the weights alone. A convolution of groups has `rank` channels in each.
    """

    rank: int

    def __call__(self, layer: nn.Module, name: str) -> nn.Sequential:
        """Two layers in a row, the best of the rank in squares of the weights."""
        checked_layer = checked(layer, name, nn.Linear, nn.Conv2d)
        check_channels(checked_layer, name)
        if isinstance(checked_layer, nn.Linear):
            return self._linear(checked_layer, name)
        return self._convolution(checked_layer, name)

    def _linear(self, layer: nn.Linear, name: str) -> nn.Sequential:
        check_rank(self.rank, min(layer.weight.shape), name)
        left, right = halves(layer.weight.detach().double(), self.rank)
        return nn.Sequential(linear(layer, right), linear(layer, left, layer.bias))

    def _convolution(self, layer: nn.Conv2d, name: str) -> nn.Sequential:
        weight = by_groups(layer)
        matrices = weight.flatten(2)
        check_rank(self.rank, min(matrices.shape[1:]), name)
        left, right = halves(matrices, self.rank)
        filters = right.reshape(-1, *weight.shape[2:])
        return nn.Sequential(
            convolution(layer, filters, axes=(0, 1)),
            pointwise(layer, left.flatten(0, 1), bias=layer.bias),
        )


def halves(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """The nearest product of (..., rows, rank) and (..., rank, columns), both of equal norms."""
    u, s, v = cast("tuple[Tensor, Tensor, Tensor]", torch.linalg.svd(matrix, full_matrices=False))
    root = s[..., :rank].sqrt()
    return u[..., :rank] * root[..., None, :], root[..., :, None] * v[..., :rank, :]
