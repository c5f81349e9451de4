"""Tensor trains: a linear layer as `TTLinear`, a convolution as four along one axis each."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import tensorly
import torch
from tensorly.decomposition import tensor_train
from torch import Tensor, nn
from torch.nn import functional as F

from labsupport.core.errors import LabError
from labsupport.methods.decomposition.pieces import (
    by_groups,
    check_rank,
    checked,
    checked_kernel,
    convolution,
    parameter,
    pointwise,
)
from labsupport.models.tensor_train import TTLinear, cheapest_order, core_sizes, digits, train_ranks

CORES = 3  # of a linear layer, where no sizes are given
Sizes = tuple[int, ...]


@dataclass(frozen=True)
class TensorTrain:
    """A linear layer as a train of cores, a convolution as four along one axis each.

    Novikov et al. 2015, "Tensorizing neural networks", section 4; of a convolution the cores are
    those of its channels, rows, columns and filters, in each group. `rank` is that between all
    cores, but no more than the full one, or a rank for each bond. `inputs` and `outputs` are of a
    linear layer: a size for each core, products at least as large as the layer, which is padded;
    by default those that `digits` finds for three cores.
    """

    rank: int | Sizes
    inputs: Sizes = ()
    outputs: Sizes = ()

    def __call__(self, layer: nn.Module, name: str) -> nn.Module:
        """`TTLinear`, or four convolutions in a row, by TT-SVD (Oseledets 2011, algorithm 1)."""
        dense = checked(layer, name, nn.Linear, nn.Conv2d)
        if isinstance(dense, nn.Linear):
            return self._linear(dense, name)
        if self.inputs or self.outputs:
            problem = f"sizes of cores for layer {name}, a convolution"
            raise LabError(problem, "give a rank alone: its cores are those of its axes")
        return self._convolutions(checked_kernel(layer, name), name)

    def _linear(self, layer: nn.Linear, name: str) -> TTLinear:
        out_features, in_features = layer.weight.shape
        try:
            inputs = self.inputs or digits(in_features, len(self.outputs) or CORES)
            outputs = self.outputs or digits(out_features, len(inputs))
            ranks = self._ranks(core_sizes(inputs, outputs), name)
            with torch.device("meta"):  # so that no weights are drawn
                made = TTLinear(inputs, outputs, ranks, in_features, out_features)
        except LabError as error:
            raise LabError(f"layer {name}: {error.problem}", error.remedy) from None
        for k, core in enumerate(matrix_train(layer.weight.detach(), inputs, outputs, ranks)):
            made.register_parameter(f"core{k}", parameter(core, layer.weight))
        made.bias = None if layer.bias is None else parameter(layer.bias, layer.bias)
        return made.train(layer.training)

    def _convolutions(self, layer: nn.Conv2d, name: str) -> nn.Sequential:
        weight = by_groups(layer).transpose(1, 2).permute(0, 1, 3, 4, 2)  # filters last
        ranks = self._ranks(tuple(weight.shape[1:]), name)
        trains = zip(*(train(of, ranks) for of in weight), strict=True)
        channels, rows, columns, filters = (torch.stack(cores) for cores in trains)
        return nn.Sequential(
            pointwise(layer, channels[:, 0].transpose(1, 2).flatten(0, 1)),
            convolution(layer, rows.permute(0, 3, 1, 2).flatten(0, 1)[..., None], axes=(0,)),
            convolution(layer, columns.permute(0, 3, 1, 2).flatten(0, 1)[:, :, None], axes=(1,)),
            pointwise(layer, filters[..., 0].transpose(1, 2).flatten(0, 1), bias=layer.bias),
        )

    def _ranks(self, shape: Sizes, name: str) -> Sizes:
        """The ranks of a train of a tensor of some shape."""
        full = train_ranks(shape)
        if not isinstance(self.rank, tuple):
            check_rank(self.rank, max(full, default=1), name)
            return tuple(min(self.rank, most) for most in full)
        if len(self.rank) != len(full):
            problem = f"{len(self.rank)} ranks for the {len(full)} bonds of layer {name}"
            raise LabError(problem, "give one for each, or one number")
        before = (1, *self.rank)  # a core has no more independent columns than rows
        for rank, most, one, size in zip(self.rank, full, before, shape, strict=False):
            check_rank(rank, min(most, one * size), name)
        return self.rank


def train(tensor: Tensor, ranks: Sequence[int]) -> list[Tensor]:
    """Cores (rank before, size, rank behind) of a tensor, by truncated SVDs in turn."""
    if tensor.dim() == 1:  # which tensorly does not take
        return [tensor.double()[None, :, None]]
    with tensorly.backend_context("numpy"):
        cores = tensor_train(tensor.double().cpu().numpy(), [1, *ranks, 1])
    return [torch.from_numpy(core.copy()) for core in cores]


def matrix_train(weight: Tensor, inputs: Sizes, outputs: Sizes, ranks: Sizes) -> list[Tensor]:
    """Cores (rank before, output digit, input digit, rank behind) of a matrix, padded by zeros."""
    beyond = (math.prod(inputs) - weight.shape[1], math.prod(outputs) - weight.shape[0])
    padded = F.pad(weight, (0, beyond[0], 0, beyond[1])).reshape(*outputs, *inputs)
    count = len(inputs)
    pairs = [axis for k in range(count) for axis in (k, count + k)]
    sizes = [n * m for n, m in zip(outputs, inputs, strict=True)]
    cores = train(padded.permute(pairs).reshape(sizes), ranks)
    digit_pairs = zip(cores, outputs, inputs, strict=True)
    return [core.reshape(len(core), n, m, -1) for core, n, m in digit_pairs]


def ordered(network: nn.Module, batch: int) -> nn.Module:
    """A copy whose tensor trains are multiplied in the order of the fewest MACs for a batch.

    A new one has the best order for one input.
    """
    result = copy.deepcopy(network)
    for layer in result.modules():
        if isinstance(layer, TTLinear):
            layer.order = cheapest_order(layer, batch)
    return result
