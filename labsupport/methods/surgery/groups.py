"""Channel groups: which channels of a network can be removed, and what else goes with them.

A filter's output channel is read by the layers after it, so that their weights for it must go,
too; channels that are added together (residual connections) can only go together. Li et al. 2017,
"Pruning filters for efficient ConvNets", section 3; Fang et al. 2023, "DepGraph", section 3.
"""

from __future__ import annotations

import operator
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
from scipy.cluster.hierarchy import DisjointSet
from torch import fx, nn
from torch.nn import functional as F

from labsupport.errors import LabError
from labsupport.methods.surgery.tracing import called, inputs, shape_of, trace

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
# What works on each channel by itself and makes nothing of a channel that is zero.
CHANNELWISE_LAYERS = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Hardswish, nn.Tanh,
    nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d,
    nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d,
    nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d,
)  # fmt: skip
CHANNELWISE_CALLS = {
    F.relu, torch.relu, "relu", "relu_", F.relu6, F.leaky_relu, F.elu, F.gelu, F.silu,
    F.hardswish, torch.tanh, F.tanh, "tanh", F.dropout, F.dropout2d,
    F.max_pool1d, F.max_pool2d, torch.max_pool2d, F.avg_pool1d, F.avg_pool2d,
    F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_max_pool2d, "contiguous",
}  # fmt: skip
RESHAPES = {"flatten", "view", "reshape", torch.flatten, torch.reshape}
ADDITIONS = {operator.add, operator.iadd, torch.add, "add", "add_"}

Key = tuple[str, str]  # ("in" or "out", layer), or ("fixed", node)


@dataclass(frozen=True)
class Member:
    """A layer that holds weights for the channels of a group.

    `positions` are its inputs for each channel: 1, or height x width behind a flatten.
    """

    layer: str
    positions: int = 1


@dataclass(frozen=True)
class Group:
    """Channels that go together: the c-th of every layer in it, for each c below `channels`.

    `producers` have a filter or neuron for each channel, `followers` (batch norms, depthwise
    convolutions) work on it, `consumers` read it. `fixed` says why none can be removed; it is
    empty where they can.
    """

    channels: int
    producers: tuple[str, ...]
    followers: tuple[Member, ...]
    consumers: tuple[Member, ...]
    fixed: str = ""

    @property
    def name(self) -> str:
        """The first layer that makes the channels."""
        return self.producers[0]


def channel_groups(model: nn.Module, input_shape: tuple[int, ...]) -> list[Group]:
    """All groups of channels that some layer of the network makes, in the order of the calls.

    Raises LabError for a network that cannot be traced.
    """
    graph = trace(model, input_shape)
    return _Walk(graph).groups()


def prunable(groups: Sequence[Group]) -> list[Group]:
    """The groups from which channels can be removed."""
    return [group for group in groups if not group.fixed]


def group_of(layer: str, groups: Sequence[Group]) -> Group:
    """The group whose channels a layer makes.

    Raises LabError for a layer that makes no channels, or some that cannot be removed.
    """
    for group in groups:
        if layer in group.producers:
            if group.fixed:
                raise LabError(f"the channels of {layer} cannot be removed: {group.fixed}")
            return group
    names = ", ".join(name for group in prunable(groups) for name in group.producers)
    raise LabError(f"{layer!r} has no filters or neurons to remove", f"choose from {names}")


@dataclass(frozen=True)
class _Channels:
    """The channels of one tensor: whose they are, and how many features each one has."""

    key: Key
    positions: int = 1


class _Walk:
    """One walk along the calls, which joins what belongs together."""

    def __init__(self, graph: fx.GraphModule) -> None:
        self.graph = graph
        self.channels: dict[fx.Node, _Channels] = {}
        self.together = DisjointSet()
        self.fixed: dict[Key, str] = {}
        self.sizes: dict[Key, int] = {}
        self.followers: dict[Member, Key] = {}
        self.consumers: dict[Member, Key] = {}
        for node in graph.graph.nodes:
            if shape_of(node) is not None or node.op == "output":
                self._visit(node)

    def groups(self) -> list[Group]:
        """What the walk has found."""
        parts: dict[Key, list[Key]] = defaultdict(list)
        for key in self.together:
            parts[self.together[key]].append(key)
        return [self._group(keys) for keys in parts.values() if any(k in self.sizes for k in keys)]

    def _group(self, keys: list[Key]) -> Group:
        producers = [key for key in keys if key in self.sizes]
        return Group(
            channels=self.sizes[producers[0]],
            producers=tuple(layer for _, layer in producers),
            followers=tuple(m for m, key in self.followers.items() if key in keys),
            consumers=tuple(m for m, key in self.consumers.items() if key in keys),
            fixed=next((self.fixed[key] for key in keys if key in self.fixed), ""),
        )

    def _visit(self, node: fx.Node) -> None:
        layer = called(self.graph, node)
        if node.op == "placeholder":
            self._fixed(node, "they are the network's input")
        elif node.op == "output":
            self._fix_inputs(node, "they are the network's output")
        elif layer is not None and _makes_channels(layer, node):
            self._produce(node, layer)
        elif layer is not None and _works_on_channels(layer):
            self._pass(node)
            member = Member(str(node.target), self.channels[node].positions)
            self.followers[member] = self.channels[node].key
        elif _is_channelwise(layer, node):
            self._pass(node)
        elif _flattens(layer, node):
            self._flatten(node)
        elif _adds(node):
            self._add(node)
        else:
            what = type(layer).__name__ if layer is not None else str(node.target)
            self._fix_inputs(node, f"they go through {node.name} ({what})")
            self._fixed(node, f"they come from {node.name} ({what})")

    def _produce(self, node: fx.Node, layer: nn.Module) -> None:
        target = str(node.target)
        given = self.channels[inputs(node)[0]]
        read, made = ("in", target), ("out", target)
        self.together.add(read)
        self.together.add(made)
        self.together.merge(given.key, read)
        self.consumers[Member(target, given.positions)] = read
        self.sizes[made] = len(layer.get_parameter("weight"))
        self.channels[node] = _Channels(made)

    def _pass(self, node: fx.Node) -> None:
        self.channels[node] = self.channels[inputs(node)[0]]

    def _flatten(self, node: fx.Node) -> None:
        source = inputs(node)[0]
        given, shape = self.channels[source], shape_of(source) or ()
        self.channels[node] = _Channels(given.key, given.positions * prod(shape[2:]))

    def _add(self, node: fx.Node) -> None:
        given = [self.channels[source] for source in inputs(node)]
        for other in given[1:]:
            self.together.merge(given[0].key, other.key)
        self.channels[node] = given[0]
        if len({channels.positions for channels in given}) > 1:
            self._fix_inputs(node, f"{node.name} adds maps to flat features")

    def _fixed(self, node: fx.Node, why: str) -> None:
        key = ("fixed", node.name)
        self.together.add(key)
        self.fixed[key] = why
        self.channels[node] = _Channels(key)

    def _fix_inputs(self, node: fx.Node, why: str) -> None:
        for source in inputs(node):
            self.fixed.setdefault(self.channels[source].key, why)


def is_depthwise(layer: nn.Module) -> bool:
    """Whether a convolution has one filter for each channel, which sees no other."""
    return isinstance(layer, CONVOLUTIONS) and (
        1 < layer.groups == layer.in_channels == layer.out_channels
    )


def _makes_channels(layer: nn.Module, node: fx.Node) -> bool:
    if isinstance(layer, nn.Linear):
        return len(shape_of(node) or ()) == 2
    return isinstance(layer, CONVOLUTIONS) and layer.groups == 1


def _works_on_channels(layer: nn.Module) -> bool:
    return isinstance(layer, NORMS) or is_depthwise(layer)


def _is_channelwise(layer: nn.Module | None, node: fx.Node) -> bool:
    if isinstance(layer, nn.PReLU):
        return layer.num_parameters == 1
    if layer is not None:
        return isinstance(layer, CHANNELWISE_LAYERS)
    return node.target in CHANNELWISE_CALLS or _averages(node)


def _adds(node: fx.Node) -> bool:
    """Whether tensors of one shape are added, as a residual connection does."""
    shapes = [shape_of(source) for source in inputs(node)]
    return node.target in ADDITIONS and len(shapes) == 2 and shapes[0] == shapes[1]


def _averages(node: fx.Node) -> bool:
    """A mean over all positions, as global average pooling is often written."""
    if node.target not in {"mean", torch.mean}:
        return False
    before, after = shape_of(inputs(node)[0]) or (), shape_of(node) or ()
    return before[:2] == after[:2] and all(side == 1 for side in after[2:])


def _flattens(layer: nn.Module | None, node: fx.Node) -> bool:
    """Whether maps (N, C, H, W) become (N, C·H·W), by whatever call."""
    if not isinstance(layer, nn.Flatten) and node.target not in RESHAPES:
        return False
    before, after = shape_of(inputs(node)[0]) or (), shape_of(node) or ()
    return tuple(after) == (*before[:1], prod(before[1:]))
