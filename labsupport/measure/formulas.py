"""Closed forms of what a layer costs: usable before there is a network.

A MAC is one multiply-accumulate, what most papers print as a FLOP; two floating-point operations
are one MAC. Additions of biases are counted apart. Positions in the zero padding count as
computed, as a dense convolution does compute them.
"""

from __future__ import annotations

from labsupport.core.errors import LabError


def linear_parameters(inputs: int, outputs: int, bias: bool = True) -> int:
    """Parameters of a fully connected layer: a weight per connection, a bias per output."""
    return (inputs + bias) * outputs


def linear_macs(inputs: int, outputs: int) -> int:
    """MACs of a fully connected layer for one example: one per connection."""
    return inputs * outputs


def conv2d_parameters(
    channels: int,
    filters: int,
    kernel: int | tuple[int, int],
    *,
    groups: int = 1,
    bias: bool = True,
) -> int:
    """Parameters of a 2D convolution: `filters` kernels over `channels / groups` maps each."""
    height, width = _pair(kernel)
    return (height * width * _per_group(channels, groups) + bias) * filters


def conv2d_macs(
    channels: int,
    filters: int,
    kernel: int | tuple[int, int],
    output_size: int | tuple[int, int],
    *,
    groups: int = 1,
) -> int:
    """MACs of a 2D convolution for one example: every output element sees a whole kernel.

    `output_size` is the (height, width) of the output map, see `conv2d_output_size`.
    """
    height, width = _pair(kernel)
    rows, columns = _pair(output_size)
    return rows * columns * filters * height * width * _per_group(channels, groups)


def conv2d_output_size(
    size: int | tuple[int, int],
    kernel: int | tuple[int, int],
    *,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
) -> tuple[int, int]:
    """Height and width of a convolution's output map.

    Raises LabError when the kernel is larger than the padded input.
    """
    axes = zip(*map(_pair, (size, kernel, stride, padding, dilation)), strict=True)
    height, width = (_output_length(*axis) for axis in axes)
    return height, width


def _output_length(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    room = size + 2 * padding - dilation * (kernel - 1) - 1
    if room < 0:
        raise LabError(
            f"a kernel of {kernel} (dilation {dilation}) is larger than an input of {size} "
            f"with padding {padding}",
            "take a smaller kernel, more padding or a larger input",
        )
    return room // stride + 1


def _per_group(channels: int, groups: int) -> int:
    if channels % groups:
        raise LabError(f"{channels} channels do not divide into {groups} groups")
    return channels // groups


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value
