"""Blocks of compact networks: maps in, maps of the same size out, each in one published way.

A convolution before a batch norm has no bias, which the norm's shift makes idle.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from labsupport.core.errors import LabError


def plain(channels: int, filters: int) -> nn.Sequential:
    """One padded 3x3 convolution, what all others are compared with: 9 weights a pair of maps."""
    return nn.Sequential(*_normalized(channels, filters, 3), nn.ReLU())


class Fire(nn.Module):
    """Few maps squeezed out by 1x1 filters, and expanded by as many 1x1 as 3x3 filters.

    Iandola et al. 2016 (SqueezeNet), section 3.2 and figure 2, with its ratios: one squeezed map
    for eight that come out, half of them seen by 3x3 filters; each part normalized. Raises LabError
    for a single map to come out.
    """

    def __init__(self, channels: int, filters: int) -> None:
        super().__init__()
        if filters < 2:
            raise LabError(f"a Fire module of {filters} map", "give at least 2: one of each size")
        squeezed, small = max(1, filters // 8), filters // 2
        self.squeeze = nn.Sequential(*_normalized(channels, squeezed, 1), nn.ReLU())
        self.small = nn.Sequential(*_normalized(squeezed, small, 1), nn.ReLU())
        self.large = nn.Sequential(*_normalized(squeezed, filters - small, 3), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, channels, H, W) to (N, filters, H, W)."""
        x = self.squeeze(x)
        return torch.cat([self.small(x), self.large(x)], 1)


class CReLU(nn.Module):
    """Half as many 3x3 filters as maps that come out: each filter's answer and its negative.

    Filters of early layers come in pairs of opposite phase (Shang et al. 2016). As in PVANet (Kim
    et al. 2016, section 2.1), every map has its own scale and shift before the ReLU, here those of
    the batch norm. Of an odd number of filters the last has no negative.
    """

    def __init__(self, channels: int, filters: int) -> None:
        super().__init__()
        self.filters = filters
        self.convolution = nn.Conv2d(channels, (filters + 1) // 2, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(filters)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, channels, H, W) to (N, filters, H, W)."""
        x = self.convolution(x)
        both = torch.cat([x, -x], 1)
        return cast(Tensor, self.relu(self.norm(both[:, : self.filters])))


def separable(channels: int, filters: int) -> nn.Sequential:
    """A 3x3 filter for each map by itself, then 1x1 filters that mix the maps.

    Howard et al. 2017 (MobileNets), section 3.1: 1 / filters + 1 / 9 of the plain block's MACs.
    """
    depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
    return nn.Sequential(
        *(depthwise, nn.BatchNorm2d(channels), nn.ReLU()),
        *(*_normalized(channels, filters, 1), nn.ReLU()),
    )


def darknet(channels: int, filters: int) -> nn.Sequential:
    """A bottleneck of 1x1 filters, an eighth as many as the 3x3 filters that follow.

    The pairs of Redmon's Tiny Darknet (pjreddie.com/darknet/tiny-darknet: 16 and 128), with its
    leaky ReLU.
    """
    squeezed = max(1, filters // 8)
    return nn.Sequential(
        *(*_normalized(channels, squeezed, 1), nn.LeakyReLU(0.1)),
        *(*_normalized(squeezed, filters, 3), nn.LeakyReLU(0.1)),
    )


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around which the input goes, by 1x1 filters where the width changes.

    He et al. 2016, section 3.2 and figure 2.
    """

    def __init__(self, channels: int, filters: int) -> None:
        super().__init__()
        first, second = _normalized(channels, filters, 3), _normalized(filters, filters, 3)
        self.body = nn.Sequential(*first, nn.ReLU(), *second)
        changes = channels != filters
        self.shortcut = nn.Sequential(*_normalized(channels, filters, 1) if changes else ())
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, channels, H, W) to (N, filters, H, W)."""
        return cast(Tensor, self.relu(self.body(x) + self.shortcut(x)))


BLOCKS: dict[str, Callable[[int, int], nn.Module]] = {
    "plain": plain,
    "fire": Fire,
    "crelu": CReLU,
    "separable": separable,
    "darknet": darknet,
    "residual": ResidualBlock,
}


def _normalized(channels: int, filters: int, kernel: int) -> tuple[nn.Module, nn.Module]:
    padding = kernel // 2
    convolution = nn.Conv2d(channels, filters, kernel, padding=padding, bias=False)
    return convolution, nn.BatchNorm2d(filters)
