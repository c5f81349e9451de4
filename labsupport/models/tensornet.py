"""TensorNet: an MLP whose hidden layers are tensor trains."""

from __future__ import annotations

import math
from itertools import pairwise

from torch import nn

from labsupport.core.errors import LabError
from labsupport.models.tensor_train import TTLinear, digits, full_ranks

Shape = tuple[int, int, int]
CORES = 4
NARROWEST = 16  # units that factor into so many sizes above 1


def tensornet(
    input_shape: Shape, classes: int = 10, *, depth: int = 2, width: int = 256, rank: int = 10
) -> nn.Sequential:
    """An MLP of `depth` hidden layers of `width` units, each a train of four cores of one rank.

    Novikov et al. 2015, "Tensorizing neural networks", section 6.1, deeper and narrower, and each
    layer normalized (Ioffe and Szegedy 2015), which makes a bias idle: 12,518 parameters on
    MNIST, fewer than the paper's 12,602. The last layer is a dense one. The first two output digits
    are 2, so that few numbers lie between the halves of a train: for a batch the first hidden layer
    takes about half of a dense layer's MACs.
    """
    if width < NARROWEST:
        problem = f"a tensornet of {width} units, too few for trains of {CORES} cores"
        raise LabError(problem, f"give it at least {NARROWEST}")
    sizes = [math.prod(input_shape), *[width] * depth]
    layers: list[nn.Module] = [nn.Flatten()]
    for features in pairwise(sizes):
        layers += [_train(*features, rank), nn.BatchNorm1d(features[1]), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], classes))


def _train(in_features: int, out_features: int, rank: int) -> TTLinear:
    inputs, outputs = digits(in_features, CORES), (2, 2, *digits(-(-out_features // 4), CORES - 2))
    ranks = [min(rank, full) for full in full_ranks(inputs, outputs)]
    return TTLinear(inputs, outputs, ranks, in_features, out_features, bias=False)
