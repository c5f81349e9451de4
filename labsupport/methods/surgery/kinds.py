"""What a call does to channels: makes them, works on each by itself, moves them about."""

from __future__ import annotations

import operator
from collections.abc import Set
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F
from torchvision.ops import Permute, StochasticDepth, stochastic_depth

from labsupport.network.tracing import inputs, shape_of

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
# What works on each element by itself and makes nothing of a zero.
ELEMENTWISE_LAYERS = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Hardswish, nn.Tanh,
    nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, StochasticDepth,
)  # fmt: skip
ELEMENTWISE_CALLS = {
    F.relu, torch.relu, "relu", "relu_", F.relu6, F.leaky_relu, F.elu, F.gelu, F.silu,
    F.hardswish, torch.tanh, F.tanh, "tanh", F.dropout, F.dropout2d, "contiguous",
    stochastic_depth,
}  # fmt: skip
# What works on each element by itself, but makes something of a zero.
SHIFTING_LAYERS = (nn.Sigmoid, nn.Hardsigmoid)
SHIFTING_CALLS = {torch.sigmoid, F.sigmoid, "sigmoid", F.hardsigmoid}
# Poolings by the number of axes that they pool over, the last ones.
POOLINGS = {
    1: (nn.MaxPool1d, nn.AvgPool1d, nn.AdaptiveAvgPool1d, nn.AdaptiveMaxPool1d),
    2: (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d),
}
POOLING_CALLS = {
    1: {F.max_pool1d, F.avg_pool1d, F.adaptive_avg_pool1d, F.adaptive_max_pool1d},
    2: {F.max_pool2d, torch.max_pool2d, F.avg_pool2d, F.adaptive_avg_pool2d,
        F.adaptive_max_pool2d},
}  # fmt: skip
# What puts elements elsewhere without a number of channels in it.
MOVING_LAYERS = (nn.Flatten, Permute)
MOVES = {
    "flatten", torch.flatten, "permute", torch.permute, "transpose", torch.transpose, "unsqueeze",
    torch.unsqueeze, "squeeze", torch.squeeze, getattr,
}  # fmt: skip
RESHAPES = {"view", "reshape", torch.reshape}
CHUNKS = {"chunk", torch.chunk}
SPLITS = {"split", torch.split}
ITEMS = {operator.getitem}
CONCATENATIONS = {torch.cat, torch.concat}
ADDITIONS = {operator.add, operator.iadd, torch.add, "add", "add_"}
IN_PLACE = {operator.iadd, "add_"}
PRODUCTS = {operator.mul, operator.imul, torch.mul, "mul", "mul_"}
QUOTIENTS = {operator.truediv, torch.div, "div"}
SIZES = {"size", "dim", getattr}  # what gives numbers, not values


def calls(node: fx.Node, functions: Set[object]) -> bool:
    """Whether a node calls one of some functions or methods; layers may have the same names."""
    return node.op in {"call_function", "call_method"} and node.target in functions


def is_depthwise(layer: nn.Module) -> bool:
    """Whether each filter of a convolution sees one channel, and no channel but one is there."""
    return isinstance(layer, CONVOLUTIONS) and 1 < layer.groups == layer.in_channels


def is_elementwise(layer: nn.Module | None, node: fx.Node) -> bool:
    """Whether a call treats each element by itself, and zeros stay zeros."""
    if isinstance(layer, nn.PReLU):
        return layer.num_parameters == 1
    if layer is not None:
        return isinstance(layer, ELEMENTWISE_LAYERS)
    if calls(node, PRODUCTS | QUOTIENTS):
        return len(inputs(node)) == 1 == len(node.all_input_nodes) and node.args[0] in inputs(node)
    return calls(node, ELEMENTWISE_CALLS)


def shifts_zero(layer: nn.Module | None, node: fx.Node) -> bool:
    """Whether a call treats each element by itself, but makes something of a zero."""
    if layer is not None:
        return isinstance(layer, SHIFTING_LAYERS)
    if calls(node, {operator.add, torch.add, "add"}):
        return len(node.all_input_nodes) == 1 == len(inputs(node))
    return calls(node, SHIFTING_CALLS)


def pooled_axes(layer: nn.Module | None, node: fx.Node) -> list[int] | None:
    """The axes that a pooling or a mean goes over, None for another call."""
    if not inputs(node) or shape_of(node) is None:
        return None
    dimensions = len(shape_of(inputs(node)[0]) or ())
    for over, kinds in POOLINGS.items():
        if isinstance(layer, kinds) if layer is not None else calls(node, POOLING_CALLS[over]):
            return list(range(dimensions - over, dimensions))
    if calls(node, {"mean", torch.mean}) and len(node.all_input_nodes) == 1:
        return _axes_of_mean(node, dimensions)
    return None


def _axes_of_mean(node: fx.Node, dimensions: int) -> list[int] | None:
    over = argument(node, 1, "dim", None)
    axes = over if isinstance(over, tuple | list) else [over]
    numbers = [axis % dimensions for axis in axes if isinstance(axis, int)]
    return numbers if len(numbers) == len(axes) else None


def written_axes(node: fx.Node) -> set[int]:
    """The axes whose size a reshape has as a number in the code, as `view(-1, 320)` has one."""
    sizes = [*node.args[1:], *node.kwargs.values()]
    flat = [size for given in sizes for size in (given if isinstance(given, tuple) else (given,))]
    return {axis for axis, size in enumerate(flat) if isinstance(size, int) and size != -1}


def argument(node: fx.Node, position: int, name: str, default: object) -> Any:  # noqa: ANN401
    """What a call gets at a position or by a name; the tensor is at position 0."""
    if len(node.args) > position:
        return node.args[position]
    return node.kwargs.get(name, default)


def indexed_axes(index: object, dimensions: int) -> set[int] | None:
    """The axes of which `x[index]` takes a part; None where values, not numbers, say which."""
    items = list(index) if isinstance(index, tuple) else [index]
    if any(isinstance(item, fx.Node) and shape_of(item) is not None for item in items):
        return None
    if Ellipsis in items:
        at, given = items.index(Ellipsis), sum(item is not None for item in items) - 1
        items[at : at + 1] = [slice(None)] * (dimensions - given)
    axes = [item for item in items if item is not None]
    return {axis for axis, item in enumerate(axes) if item != slice(None)}
