"""Tucker-2: a convolution as a smaller one between two 1x1 convolutions."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import tensorly
import torch
from tensorly.decomposition import partial_tucker
from torch import Tensor, nn

from labsupport.methods.decomposition.pieces import (
    by_groups,
    check_rank,
    checked_kernel,
    convolution,
    pointwise,
)
from labsupport.methods.decomposition.vbmf import vbmf

SWEEPS = 50


@dataclass(frozen=True)
class Tucker:
    """A convolution of `inputs` to `outputs` channels in each group, with a 1x1 one on each side.

    Kim et al. 2016, "Compression of deep convolutional neural networks for fast and low power
    mobile applications", section 3.1. Where a rank is full the 1x1 convolution is left out. Of a
    kernel of k positions neither rank can be more than k times the other, unless it is full.
    """

    inputs: int
    outputs: int

    def __call__(self, layer: nn.Module, name: str) -> nn.Sequential:
        """One to three convolutions in a row; only the middle one strides and pads."""
        kernel = checked_kernel(layer, name)
        weight = by_groups(kernel)
        _, filters, channels, rows, columns = weight.shape
        inner = channels if self.inputs == channels else self.outputs * rows * columns
        outer = filters if self.outputs == filters else self.inputs * rows * columns
        check_rank(self.inputs, min(channels, inner), name, "rank of its inputs")
        check_rank(self.outputs, min(filters, outer), name, "rank of its outputs")
        core, left, right = self._factors(weight)
        last = self.outputs == filters
        made = [pointwise(kernel, right)] if self.inputs < channels else []
        bias = kernel.bias if last else None
        made.append(convolution(kernel, core.flatten(0, 1), axes=(0, 1), bias=bias))
        if not last:
            made.append(pointwise(kernel, left, bias=kernel.bias))
        return nn.Sequential(*made)

    def _factors(self, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Cores by group, outer factors (filters, outputs) and inner ones (inputs, channels)."""
        found = [tucker2(of.cpu(), self.outputs, self.inputs) for of in weight]
        cores, lefts, rights = zip(*found, strict=True)
        return torch.stack(cores), torch.cat(lefts), torch.cat([right.T for right in rights])


def tucker2(weight: Tensor, outputs: int, inputs: int) -> tuple[Tensor, Tensor, Tensor]:
    """Core (outputs, inputs, rows, columns) and factors (filters, outputs), (channels, inputs).

    By higher-order orthogonal iteration (De Lathauwer et al. 2000). A factor of full rank is
    the identity.
    """
    ranks = (outputs, inputs)
    factors = [torch.eye(size, dtype=weight.dtype) for size in weight.shape[:2]]
    modes = [axis for axis in (0, 1) if ranks[axis] < weight.shape[axis]]
    if modes:
        # Of zeros tensorly divides the error by their norm.
        with tensorly.backend_context("numpy"), np.errstate(invalid="ignore"):
            (_, found), _ = partial_tucker(
                weight.numpy(), [ranks[axis] for axis in modes], modes=modes, n_iter_max=SWEEPS
            )
        for axis, factor in zip(modes, found, strict=True):
            factors[axis] = torch.from_numpy(factor.copy())
    left, right = factors
    return torch.einsum("oiyx,or,is->rsyx", weight, left, right), left, right


def tucker_by_vbmf(layer: nn.Module, name: str = "") -> Tucker:
    """Tucker with the ranks that variational Bayes finds in the layer's two unfoldings.

    Kim et al. 2016, section 3.2. A rank of 0, where all may be noise, becomes 1; of groups the
    largest counts; neither is more than the other allows. Raises LabError for a layer that Tucker
    does not take.
    """
    weight = by_groups(checked_kernel(layer, name or type(layer).__name__))
    outputs = max(1, *(vbmf(of.flatten(1)).rank for of in weight))
    inputs = max(1, *(vbmf(of.transpose(0, 1).flatten(1)).rank for of in weight))
    positions = math.prod(weight.shape[3:])
    return Tucker(min(inputs, outputs * positions), min(outputs, inputs * positions))
