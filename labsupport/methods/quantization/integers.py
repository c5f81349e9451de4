"""Quantized networks as what they are stored as: whole numbers, and a step for each channel."""

from __future__ import annotations

import copy
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from labsupport.core.errors import LabError
from labsupport.methods.quantization.grids import Grid
from labsupport.methods.quantization.layers import QuantizedLayer
from labsupport.network.parametrized import make_plain


class Codes(nn.Module):
    """Weights as whole numbers, int8, each times the step of its channel."""

    codes: Tensor

    def __init__(self, codes: Tensor) -> None:
        super().__init__()
        self.register_buffer("codes", codes)

    def forward(self, step: Tensor) -> Tensor:
        """Steps (channels, 1, ...) to weights (channels, ...)."""
        return self.codes * step

    def right_inverse(self, weight: Tensor) -> Tensor:
        """The steps whose weights are nearest to `weight` in squares."""
        codes = self.codes.to(weight.dtype)
        axes = tuple(range(1, codes.dim()))
        products, squares = ((codes * of).sum(axes, keepdim=True) for of in (weight, codes))
        return products / squares.clamp_min(1)


def with_integers(network: nn.Module) -> nn.Module:
    """A copy of a quantized network that holds its weights as int8, a byte for each.

    It answers alike. Trained further, the whole numbers stay, and steps and biases learn. Raises
    LabError for a network without quantized layers, and where something changes their weights.
    """
    stored = copy.deepcopy(network)
    layers = [module for module in stored.modules() if isinstance(module, QuantizedLayer)]
    if not layers:
        problem = f"no layer of this {type(network).__name__} is quantized"
        raise LabError(problem, "quantize them first: quantize(network, split, bits)")
    for quantized in layers:
        grid = quantized.weight_grid
        if isinstance(grid, Grid):
            _store(quantized.layer, grid)
        elif not isinstance(grid, Codes):
            problem = f"a {type(grid).__name__} changes weights after they were quantized"
            raise LabError(problem, "quantize the network last")
    return stored


def _store(layer: nn.Module, grid: Grid) -> None:
    """Put whole numbers in the place of the floats that weights are rounded from."""
    weight, step = cast(Tensor, layer.weight).detach(), grid.step.detach()
    codes = grid.codes(weight).to(torch.int8)
    learns = grid.log_step.requires_grad
    make_plain(layer, "weight", nn.Parameter(weight, requires_grad=learns))
    parametrize.register_parametrization(layer, "weight", Codes(codes))
    # To the last bit: what `right_inverse` solves for may round otherwise.
    layer.get_parameter("parametrizations.weight.original").data.copy_(step)
