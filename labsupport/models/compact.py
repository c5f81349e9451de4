"""Compact networks: blocks in a row, from a layout that can be read."""

from __future__ import annotations

from torch import nn

from labsupport.core.errors import LabError
from labsupport.models.blocks import BLOCKS, plain
from labsupport.models.cnn import Shape


def compact(
    input_shape: Shape,
    classes: int = 10,
    *,
    block: str = "residual",
    layout: str = "16 16 | 32 | 64",
) -> nn.Sequential:
    """Blocks of one kind, their widths by `layout`, averaged over the image before a linear layer.

    A number of the layout is a block of so many maps, the first a plain 3x3 convolution; a bar
    halves the maps by max pooling. `block` is one of plain, fire, crelu, separable, darknet,
    residual. Raises LabError for another block, for a layout that cannot be read, and for images
    too small for its bars.
    """
    if block not in BLOCKS:
        raise LabError(f"there is no block {block!r}", f"choose one of {', '.join(BLOCKS)}")
    stages = _read(layout)
    _check_size(input_shape, layout, len(stages) - 1)
    layers: list[nn.Module] = []
    channels = input_shape[0]
    for number, stage in enumerate(stages):
        layers += [nn.MaxPool2d(2)] if number else []
        for filters in stage:
            layers.append((BLOCKS[block] if layers else plain)(channels, filters))
            channels = filters
    head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)
    return nn.Sequential(*layers, *head)


def compact_mnist(input_shape: Shape, classes: int = 10) -> nn.Sequential:
    """Five plain convolutions that see all of an MNIST image: 9,698 parameters, 1.02 M MACs."""
    return compact(input_shape, classes, block="plain", layout="8 | 16 16 | 16 24")


def compact_cifar(input_shape: Shape, classes: int = 10) -> nn.Sequential:
    """Three residual blocks for CIFAR-10: 78 k parameters, 12.5 M MACs.

    The proportions of MLPerf Tiny's ResNet-8 (Banbury et al. 2021, section 4), with max pooling in
    place of strides.
    """
    return compact(input_shape, classes, block="residual", layout="16 16 | 32 | 64")


def _read(layout: str) -> list[list[int]]:
    """Widths of the blocks of each stage."""
    words = [stage.split() for stage in str(layout).split("|")]  # one width is a number
    if not all(words) or not all(w.isdecimal() and int(w) for stage in words for w in stage):
        remedy = 'give the blocks\' widths, with a bar where maps are halved: "16 16 | 32 | 64"'
        raise LabError(f"{layout!r} is no layout", remedy)
    return [[int(word) for word in stage] for stage in words]


def _check_size(input_shape: Shape, layout: str, halvings: int) -> None:
    if min(input_shape[1:]) < 2**halvings:
        shape = "x".join(map(str, input_shape))
        problem = f"images of {shape} cannot be halved {halvings} times, as {layout!r} says"
        raise LabError(problem, "take out a bar")
