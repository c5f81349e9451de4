"""Small classifiers of a network's inner features, for branches and rules."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn


class FirstMaps(nn.Module):
    """The first of the maps (N, C, H, W), or of the features (N, C)."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.maps = maps

    def forward(self, x: Tensor) -> Tensor:
        """The first maps, without a copy."""
        return x[:, : self.maps]


def side_branch(
    feature_shape: Sequence[int], classes: int = 10, channels: int = 8, hidden: int = 64
) -> nn.Sequential:
    """A small classifier of features (C, H, W) or (features,), as one image has them.

    Maps are first mixed down to `channels` by a 1x1 convolution, so that the `hidden` units that
    follow see every position at little cost.
    """
    if len(feature_shape) == 1:
        return nn.Sequential(nn.Linear(feature_shape[0], classes))
    maps, height, width = feature_shape
    return nn.Sequential(
        nn.Conv2d(maps, channels, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(channels * height * width, hidden),
        nn.ReLU(),
        nn.Linear(hidden, classes),
    )


def linear_branch(
    feature_shape: Sequence[int], classes: int = 10, maps: int | None = None
) -> nn.Sequential:
    """One linear layer on the first `maps` maps of features (C, H, W) or (features,), or on all.

    For one image it is far cheaper on the clock than a convolution of as many MACs.
    """
    seen = min(maps or feature_shape[0], feature_shape[0])
    inputs = math.prod([seen, *feature_shape[1:]])
    return nn.Sequential(FirstMaps(seen), nn.Flatten(), nn.Linear(inputs, classes))
