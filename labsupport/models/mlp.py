"""Multilayer perceptrons with knobs for depth, width, normalization, residuals, initialization."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from labsupport.core.errors import LabError

Norm = Literal["none", "batch", "layer"]
Init = Literal["torch", "kaiming", "xavier"]
Shape = tuple[int, int, int]


class Residual(nn.Module):
    """Adds its input to what `body` makes of it (He et al. 2016, section 3.1)."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        """Input and output of shape (N, width)."""
        out: Tensor = x + self.body(x)
        return out


NORMS: dict[str, Callable[[int], list[nn.Module]]] = {
    "none": lambda width: [],
    "batch": lambda width: [nn.BatchNorm1d(width)],
    "layer": lambda width: [nn.LayerNorm(width)],
}
INITS = ("torch", "kaiming", "xavier")


def mlp(
    input_shape: Shape,
    classes: int = 10,
    *,
    depth: int = 2,
    width: int = 1024,
    norm: Norm = "none",
    residual: bool = False,
    init: Init = "torch",
) -> nn.Sequential:
    """An MLP with `depth` hidden layers of `width` units, each linear, (norm,) ReLU.

    `depth=2, width=1024` on 28x28 images is 784-1024-1024-10: 1,863,690 parameters. `residual`
    adds a skip around every hidden layer but the first, whose width may differ from its input.
    """
    return from_widths(input_shape, classes, (width,) * depth, norm, residual, init)


def lenet_300_100(input_shape: Shape, classes: int = 10) -> nn.Sequential:
    """LeNet-300-100 (LeCun et al. 1998, section III.C): 266,610 parameters on MNIST."""
    return from_widths(input_shape, classes, (300, 100))


def from_widths(
    input_shape: Shape,
    classes: int,
    widths: tuple[int, ...],
    norm: Norm = "none",
    residual: bool = False,
    init: Init = "torch",
) -> nn.Sequential:
    """An MLP with one hidden layer for each of `widths`. Raises LabError for an empty layer."""
    if min(widths, default=1) < 1:
        raise LabError(f"hidden layers of {widths} units", "give every layer at least one unit")
    sizes = (math.prod(input_shape), *widths)
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in pairwise(sizes):
        layers += _hidden(inputs, outputs, norm, skip=residual and len(layers) > 1)
    model = nn.Sequential(*layers, nn.Linear(sizes[-1], classes))
    initialize(model, init)
    return model


def _hidden(inputs: int, outputs: int, norm: Norm, skip: bool) -> list[nn.Module]:
    if norm not in NORMS:
        raise LabError(f"there is no normalization {norm!r}", f"choose one of {', '.join(NORMS)}")
    layers = [nn.Linear(inputs, outputs), *NORMS[norm](outputs), nn.ReLU()]
    return [Residual(nn.Sequential(*layers))] if skip else layers


def initialize(model: nn.Module, init: Init) -> None:
    """Draw the weights of all linear and conv layers anew; "torch" keeps what torch drew.

    "kaiming" keeps the variance through ReLUs (He et al. 2015, eq. 10), "xavier" through linear
    units (Glorot and Bengio 2010, eq. 16). Biases become zero.
    """
    if init not in INITS:
        raise LabError(f"there is no initialization {init!r}", f"choose one of {', '.join(INITS)}")
    if init == "torch":
        return
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            if init == "kaiming":
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            else:
                nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
