"""Channel groups: which channels of a network can be removed, and what else goes with them.

A filter's output channel is read by the layers after it, so that their weights for it must go,
too; channels that are added together (residual connections) can only go together. Li et al. 2017,
"Pruning filters for efficient ConvNets", section 3; Fang et al. 2023, "DepGraph", section 3.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

from scipy.cluster.hierarchy import DisjointSet
from torch import fx, nn

from labsupport.core.errors import LabError
from labsupport.methods.surgery.kinds import (
    SIZES,
    adds,
    flattens,
    has_written_size,
    is_channelwise,
    makes_channels,
    works_on_channels,
)
from labsupport.network.tracing import called, inputs, shape_of, trace, where

Key = tuple[str, str]  # ("in", "on" or "out", layer), or ("fixed", node)


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

    def check_free(self, layer: str) -> None:
        """Raises LabError, in the name of `layer`, where the channels cannot be removed."""
        if self.fixed:
            raise LabError(f"the channels of {layer} cannot be removed: {self.fixed}")


def channel_groups(model: nn.Module, input_shape: Sequence[int]) -> list[Group]:
    """All groups of channels that some layer of the network makes, in the order of the calls.

    Layers that run in training alone (auxiliary heads) are not seen. Raises LabError for a network
    that cannot be traced.
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
            group.check_free(layer)
            return group
    names = ", ".join(name for group in prunable(groups) for name in group.producers)
    raise LabError(f"{layer!r} has no filters or neurons to remove", f"choose from {names}")


def narrowed(groups: Sequence[Group], widths: Mapping[str, int]) -> dict[str, Group]:
    """The group of each layer that `widths` names.

    Raises LabError for a layer that cannot be pruned, a width that it cannot have, or two layers
    whose channels go together.
    """
    chosen = {layer: group_of(layer, groups) for layer in widths}
    for layer, group in chosen.items():
        if widths[layer] not in range(1, group.channels + 1):
            problem = f"{layer} has {group.channels} channels, not {widths[layer]}"
            raise LabError(problem, "keep at least one and at most all")
        if sum(other.name == group.name for other in chosen.values()) > 1:
            problem = f"the channels of {layer} go together with those of another layer given"
            raise LabError(problem, "give a width for one of them")
    return chosen


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
            self._visit(node)
        self._fix_shared_weights()

    def groups(self) -> list[Group]:
        """What the walk has found."""
        parts: dict[Key, list[Key]] = defaultdict(list)
        for key in self.together:
            parts[self.together[key]].append(key)
        return [self._group(keys) for keys in parts.values() if any(k in self.sizes for k in keys)]

    def _group(self, keys: list[Key]) -> Group:
        producers = [key for key in keys if key in self.sizes]
        followers = tuple(m for m, key in self.followers.items() if key in keys)
        consumers = tuple(m for m, key in self.consumers.items() if key in keys)
        reasons = [self.fixed[key] for key in keys if key in self.fixed]
        if len({self.sizes[key] for key in producers}) > 1:
            reasons.append("layers of different sizes would have to lose them together")
        for members in (followers, consumers):
            if len({member.layer for member in members}) < len(members):
                reasons.append("a layer works on them in two places, laid out differently")
        if not consumers:
            reasons.append("no layer reads them")
        return Group(
            channels=self.sizes[producers[0]],
            producers=tuple(layer for _, layer in producers),
            followers=followers,
            consumers=consumers,
            fixed=next(iter(reasons), ""),
        )

    def _visit(self, node: fx.Node) -> None:
        layer = called(self.graph, node)
        if node.op == "placeholder":
            self._fixed(node, "they are joined with the network's input")
        elif node.op == "output":
            self._fix_inputs(node, "they are the network's output")
        elif shape_of(node) is None and (node.target in SIZES or not inputs(node)):
            pass  # a number, such as the batch size for a reshape
        elif layer is not None and makes_channels(layer, node):
            self._produce(node, layer)
        elif layer is not None and works_on_channels(layer):
            self._follow(node)
        elif is_channelwise(layer, node):
            self.channels[node] = self.channels[inputs(node)[0]]
        elif flattens(layer, node):
            self._flatten(node)
        elif adds(node):
            self._add(node)
        else:
            what = f"{where(node)} ({type(layer).__name__})" if layer is not None else where(node)
            self._fix_inputs(node, f"they go through {what}")
            self._fixed(node, f"they come from {what}")

    def _produce(self, node: fx.Node, layer: nn.Module) -> None:
        target = str(node.target)
        given = self.channels[inputs(node)[0]]
        read, made = ("in", target), ("out", target)
        self._join(given.key, read)
        self.together.add(made)
        self.consumers[Member(target, given.positions)] = read
        self.sizes[made] = len(layer.get_parameter("weight"))
        self.channels[node] = _Channels(made)

    def _follow(self, node: fx.Node) -> None:
        target = str(node.target)
        given = self.channels[inputs(node)[0]]
        self._join(given.key, ("on", target))
        self.followers[Member(target, given.positions)] = ("on", target)
        self.channels[node] = given

    def _flatten(self, node: fx.Node) -> None:
        source = inputs(node)[0]
        given, shape = self.channels[source], shape_of(source) or ()
        self.channels[node] = _Channels(given.key, given.positions * prod(shape[2:]))
        if has_written_size(node):
            self._fix_inputs(node, "the code of a reshape holds their number")

    def _add(self, node: fx.Node) -> None:
        given = [self.channels[source] for source in inputs(node)]
        for other in given[1:]:
            self._join(given[0].key, other.key)
        self.channels[node] = given[0]
        if len({channels.positions for channels in given}) > 1:
            self._fix_inputs(node, "maps are added to flat features")

    def _join(self, key: Key, other: Key) -> None:
        self.together.add(other)
        self.together.merge(key, other)

    def _fixed(self, node: fx.Node, why: str) -> None:
        key = ("fixed", node.name)
        self.together.add(key)
        self.fixed[key] = why
        self.channels[node] = _Channels(key)

    def _fix_inputs(self, node: fx.Node, why: str) -> None:
        for source in inputs(node):
            self.fixed.setdefault(self.channels[source].key, why)

    def _fix_shared_weights(self) -> None:
        """Layers that lend their weights to others cannot lose some of them alone."""
        shared = _lenders(self.graph)
        for key in [key for key in self.together if key[0] != "fixed" and key[1] in shared]:
            self.fixed.setdefault(key, f"the weights of {key[1]} are used in two places")


def _lenders(graph: fx.GraphModule) -> set[str]:
    """Layers with a parameter that another one has, too, or that the code reads by itself."""
    owners: dict[int, set[str]] = defaultdict(set)
    for name, parameter in graph.named_parameters(remove_duplicate=False):
        owners[id(parameter)].add(name.rpartition(".")[0])
    read = {str(node.target).rpartition(".")[0] for node in graph.graph.find_nodes(op="get_attr")}
    return read.union(*(names for names in owners.values() if len(names) > 1))
