"""What a call does to channels: makes them, works on each by itself, lays them out anew."""

from __future__ import annotations

import operator
from collections.abc import Set
from math import prod

import torch
from torch import fx, nn
from torch.nn import functional as F

from labsupport.network.tracing import inputs, shape_of

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
# What works on each channel by itself and makes nothing of a channel that is zero.
CHANNELWISE_LAYERS = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Hardswish, nn.Tanh,
    nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d,
)  # fmt: skip
CHANNELWISE_CALLS = {
    F.relu, torch.relu, "relu", "relu_", F.relu6, F.leaky_relu, F.elu, F.gelu, F.silu,
    F.hardswish, torch.tanh, F.tanh, "tanh", F.dropout, F.dropout2d, "contiguous",
}  # fmt: skip
# Poolings by the dimensions of a map; on tensors of other dimensions they pool over channels.
POOLINGS = {
    1: (nn.MaxPool1d, nn.AvgPool1d, nn.AdaptiveAvgPool1d, nn.AdaptiveMaxPool1d),
    2: (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d),
}
POOLING_CALLS = {
    1: {F.max_pool1d, F.avg_pool1d, F.adaptive_avg_pool1d, F.adaptive_max_pool1d},
    2: {F.max_pool2d, torch.max_pool2d, F.avg_pool2d, F.adaptive_avg_pool2d,
        F.adaptive_max_pool2d},
}  # fmt: skip
RESHAPES = {"view", "reshape", torch.reshape}
FLATTENS = {"flatten", torch.flatten}
ADDITIONS = {operator.add, operator.iadd, torch.add, "add", "add_"}
SIZES = {"size", "dim", getattr}  # what gives numbers, not values


def is_depthwise(layer: nn.Module) -> bool:
    """Whether a convolution has one filter for each channel, which sees no other."""
    return isinstance(layer, CONVOLUTIONS) and (
        1 < layer.groups == layer.in_channels == layer.out_channels
    )


def makes_channels(layer: nn.Module, node: fx.Node) -> bool:
    """Whether a layer has a filter or neuron for each channel that it gives."""
    if isinstance(layer, nn.Linear):
        return len(shape_of(node) or ()) == 2
    return isinstance(layer, CONVOLUTIONS) and layer.groups == 1


def works_on_channels(layer: nn.Module) -> bool:
    """Whether a layer holds something for each channel and passes it on."""
    return isinstance(layer, NORMS) or is_depthwise(layer)


def is_channelwise(layer: nn.Module | None, node: fx.Node) -> bool:
    """Whether a call treats each channel by itself and leaves a channel of zeros zero."""
    if isinstance(layer, nn.PReLU):
        return layer.num_parameters == 1
    if layer is not None:
        return isinstance(layer, CHANNELWISE_LAYERS) or _pools(layer, node)
    return _calls(node, CHANNELWISE_CALLS) or _pools(layer, node) or _averages(node)


def _calls(node: fx.Node, functions: Set[object]) -> bool:
    """Whether a node calls one of some functions or methods; layers may have the same names."""
    return node.op in {"call_function", "call_method"} and node.target in functions


def _pools(layer: nn.Module | None, node: fx.Node) -> bool:
    """Whether maps are pooled one by one, which takes as many dimensions as the pooling has."""
    source, *_ = [*inputs(node), node]
    dimensions = len(shape_of(source) or ()) - 2
    if shape_of(node) is None or dimensions not in POOLINGS:
        return False
    if layer is not None:
        return isinstance(layer, POOLINGS[dimensions])
    return _calls(node, POOLING_CALLS[dimensions])


def _averages(node: fx.Node) -> bool:
    """A mean over positions, as global average pooling is often written."""
    if not _calls(node, {"mean", torch.mean}) or len(inputs(node)) != 1:
        return False
    over = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else None)
    over = over if isinstance(over, tuple | list) else [over]
    dimensions = len(shape_of(inputs(node)[0]) or ())
    return all(isinstance(dim, int) and dim % dimensions >= 2 for dim in over)


def adds(node: fx.Node) -> bool:
    """Whether tensors of one shape are added, as a residual connection does."""
    shapes = [shape_of(source) for source in inputs(node)]
    return _calls(node, ADDITIONS) and len(shapes) == 2 and shapes[0] == shapes[1]


def flattens(layer: nn.Module | None, node: fx.Node) -> bool:
    """Whether maps (N, C, H, W) become (N, C·H·W), by whatever call."""
    if not isinstance(layer, nn.Flatten) and not _calls(node, RESHAPES | FLATTENS):
        return False
    before, after = shape_of(inputs(node)[0]) or (), shape_of(node) or ()
    return tuple(after) == (*before[:1], prod(before[1:]))


def has_written_size(node: fx.Node) -> bool:
    """Whether a reshape names the number of features, as `view(-1, 320)` does."""
    sizes = [*node.args[1:], *node.kwargs.values()]
    flat = [size for given in sizes for size in (given if isinstance(given, tuple) else (given,))]
    return _calls(node, RESHAPES) and any(isinstance(size, int) and size != -1 for size in flat)
