"""One walk along a network's calls: which layer makes, works on and reads which channels.

What only moves elements (concatenation, chunks, reshapes, transpositions) is run on the channels'
numbers in place of the values, so that no rule for it has to be written down.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.fx.node import map_aggregate, map_arg

from labsupport.methods.surgery import kinds
from labsupport.methods.surgery.identities import Identities, Traced, compressed
from labsupport.network.tracing import called, shape_of, where

Rule = Callable[[fx.Node], Any]  # NotImplemented where another rule is asked for


class Walk:
    """What a traced network does with channels.

    `makes` holds the numbers of a layer's outputs, `works` those that a batch norm or depthwise
    convolution passes on, `reads` those of its inputs: int64 (features,), by the layer's name.
    """

    def __init__(self, graph: fx.GraphModule) -> None:
        self.graph = graph
        self.channels = Identities()
        self.makes: dict[str, Tensor] = {}
        self.works: dict[str, Tensor] = {}
        self.reads: dict[str, Tensor] = {}
        self._values: dict[fx.Node, Any] = {}
        for node in graph.graph.nodes:
            self._values[node] = self._visit(node)
        self._fix_shared_weights()

    def _visit(self, node: fx.Node) -> Any:  # noqa: ANN401  (Traced, tuples of them, or a number)
        rules: Sequence[Rule] = (
            self._boundary, self._number, self._weighted, self._follower, self._elementwise,
            self._pool, self._sum_or_product, self._reshape, self._concatenation, self._chunks,
            self._item, self._move,
        )  # fmt: skip
        for rule in rules:
            value = rule(node)
            if value is not NotImplemented:
                return value
        return self._unknown(node)

    def _given(self, node: fx.Node) -> list[Traced]:
        """All tensors that a call takes, in the order of its arguments."""
        found: list[Traced] = []

        def note(value: Any) -> None:  # noqa: ANN401
            if isinstance(value, Traced):
                found.append(value)

        map_arg((node.args, node.kwargs), lambda n: map_aggregate(self._values[n], note))
        return found

    def _boundary(self, node: fx.Node) -> Any:  # noqa: ANN401
        """The network's input and output, and weights that its code reads by itself."""
        if node.op == "placeholder":
            return self._opaque(node, "they are joined with the network's input")
        if node.op == "get_attr":
            return self._opaque(node, f"they are joined with {node.target}")
        if node.op == "output":
            self._fix_given(node, "they are the network's output")
            return None
        return NotImplemented

    def _number(self, node: fx.Node) -> Any:  # noqa: ANN401
        """What is no tensor, such as the batch size for a reshape."""
        value = node.meta["value"]
        if _has_tensor(value) or (self._given(node) and node.target not in kinds.SIZES):
            return NotImplemented
        return value

    def _weighted(self, node: fx.Node) -> Any:  # noqa: ANN401
        """A layer with a filter or neuron for each channel that it gives."""
        layer = called(self.graph, node)
        if not isinstance(layer, (nn.Linear, *kinds.CONVOLUTIONS)) or kinds.is_depthwise(layer):
            return NotImplemented
        axis, name = (-1 if isinstance(layer, nn.Linear) else 1), str(node.target)
        self._read(name, self._given(node)[0], axis)
        if name not in self.makes:
            self.makes[name] = self.channels.new(len(layer.get_parameter("weight")))
        groups = getattr(layer, "groups", 1)
        for numbers in (self.reads.get(name), self.makes[name]):
            if groups > 1 and numbers is not None:  # the same offset in each group goes together
                self._join_along(numbers.view(groups, -1), axis=0)
        return self._along(node, self.makes[name], axis)

    def _read(self, name: str, source: Traced, axis: int) -> None:
        numbers = source.on_axis(axis)
        if numbers is None:
            self.channels.fix(source.numbers, f"they are not laid out as {name} reads channels")
            return
        if source.not_zero:
            self.channels.fix(numbers, f"they go through {source.not_zero}")
        self.channels.join(numbers, self.reads.setdefault(name, numbers))

    def _follower(self, node: fx.Node) -> Any:  # noqa: ANN401
        """A layer that holds something for each channel and passes it on."""
        layer, name = called(self.graph, node), str(node.target)
        depthwise = layer is not None and kinds.is_depthwise(layer)
        if not depthwise and not isinstance(layer, kinds.NORMS):
            return NotImplemented
        numbers = self._given(node)[0].on_axis(1)
        if numbers is None:
            return NotImplemented
        assert layer is not None
        if depthwise:  # it may have several filters for each channel
            numbers = numbers.repeat_interleave(len(layer.get_parameter("weight")) // len(numbers))
        self.channels.join(numbers, self.works.setdefault(name, numbers))
        keeps = "" if depthwise or layer.affine else self._given(node)[0].not_zero
        return self._along(node, numbers, 1, keeps)

    def _elementwise(self, node: fx.Node) -> Any:  # noqa: ANN401
        layer, given = called(self.graph, node), self._given(node)
        if len(given) != 1 or shape_of(node) is None:
            return NotImplemented
        if kinds.is_elementwise(layer, node):
            return given[0]
        if kinds.shifts_zero(layer, node):
            return Traced(given[0].numbers, given[0].shape, self._what(node))
        return NotImplemented

    def _pool(self, node: fx.Node) -> Any:  # noqa: ANN401
        """Positions that are put together, those of each channel by themselves."""
        axes, shape = kinds.pooled_axes(called(self.graph, node), node), shape_of(node)
        if axes is None or shape is None:
            return NotImplemented
        source = self._given(node)[0]
        if set(axes) & set(source.varying):
            return NotImplemented
        numbers = source.numbers
        if len(shape) < numbers.dim():
            numbers = numbers.squeeze(axes)
        return Traced(numbers, shape, source.not_zero)

    def _sum_or_product(self, node: fx.Node) -> Any:  # noqa: ANN401
        """Tensors that are added or multiplied: their channels go together."""
        given, shape = self._given(node), shape_of(node)
        adds = kinds.calls(node, kinds.ADDITIONS)
        if not (adds or kinds.calls(node, kinds.PRODUCTS)) or len(given) != 2 or shape is None:
            return NotImplemented
        one, other = given
        reasons = (one.not_zero, other.not_zero)
        not_zero = (reasons[0] or reasons[1]) if adds else (reasons[0] and reasons[1])
        if not_zero and kinds.calls(node, kinds.IN_PLACE):
            return NotImplemented  # who reads the tensor that is changed does not know
        both = np.broadcast_shapes(one.numbers.shape, other.numbers.shape)
        self.channels.join(one.numbers.expand(both), other.numbers.expand(both))
        return self._traced(one.numbers.expand(both), shape, not_zero)

    def _reshape(self, node: fx.Node) -> Any:  # noqa: ANN401
        """The same elements in another layout; sizes that stand in the code have to stay."""
        shape = shape_of(node)
        if not kinds.calls(node, kinds.RESHAPES) or shape is None:
            return NotImplemented
        source = self._given(node)[0]
        moved = self._traced(source.full.reshape(shape), shape, source.not_zero)
        written = kinds.written_axes(node)
        free = [axis for axis in moved.varying if axis not in written]
        if len(free) == 1:
            for axis in written.intersection(moved.varying):
                self._join_along(moved.numbers, axis)
        elif moved.varying:
            self.channels.fix(moved.numbers, "the code of a reshape holds their number")
        return self._traced(moved.numbers, shape, source.not_zero)

    def _concatenation(self, node: fx.Node) -> Any:  # noqa: ANN401
        shape = shape_of(node)
        if not kinds.calls(node, kinds.CONCATENATIONS) or shape is None:
            return NotImplemented
        given = self._given(node)
        axis = kinds.argument(node, 1, "dim", 0) % len(shape)
        not_zero = next((one.not_zero for one in given if one.not_zero), "")
        joined = self._traced(torch.cat([one.full for one in given], axis), shape, not_zero)
        if axis in joined.varying and len(joined.varying) > 1:  # positions, not channels, of each
            self._join_along(joined.numbers, axis)
        return self._traced(joined.numbers, shape, not_zero)

    def _chunks(self, node: fx.Node) -> Any:  # noqa: ANN401
        """Equal parts: the same offset in each goes together, so that they stay equal."""
        pieces = node.meta["value"]
        if not kinds.calls(node, kinds.CHUNKS | kinds.SPLITS) or not isinstance(pieces, tuple):
            return NotImplemented
        source, sizes = self._given(node)[0], kinds.argument(node, 1, "", None)
        axis = kinds.argument(node, 2, "dim", 0) % len(source.shape)
        lengths = [piece.shape[axis] for piece in pieces]
        parts = torch.split(source.full, lengths, axis)
        if axis in source.varying:
            written = kinds.calls(node, kinds.SPLITS) and not isinstance(sizes, fx.Node)
            if written or len(set(lengths)) > 1:
                return NotImplemented
            for part in parts[1:]:
                self.channels.join(part, parts[0])
        return tuple(self._traced(part, part.shape, source.not_zero) for part in parts)

    def _item(self, node: fx.Node) -> Any:  # noqa: ANN401
        """One of several tensors, or positions out of one."""
        if not kinds.calls(node, kinds.ITEMS):
            return NotImplemented
        of, index = node.args[:2]
        source = self._values[of] if isinstance(of, fx.Node) else None
        if isinstance(source, tuple | list) and isinstance(index, int | slice):
            return source[index]
        if not isinstance(source, Traced):
            return NotImplemented
        indexed = kinds.indexed_axes(index, len(source.shape))
        if indexed is None or indexed.intersection(source.varying):
            return NotImplemented
        at: Any = map_arg(index, lambda n: n.meta["value"])
        part = source.full[at]
        return self._traced(part, part.shape, source.not_zero)

    def _move(self, node: fx.Node) -> Any:  # noqa: ANN401
        layer, given, shape = called(self.graph, node), self._given(node), shape_of(node)
        moves = isinstance(layer, kinds.MOVING_LAYERS) or kinds.calls(node, kinds.MOVES)
        if not moves or len(given) != 1 or shape is None:
            return NotImplemented
        args, kwargs = map_arg((node.args, node.kwargs), self._as_numbers)
        if layer is not None:
            moved = layer(*args, **kwargs)
        elif node.op == "call_method":
            moved = getattr(args[0], str(node.target))(*args[1:], **kwargs)
        else:
            moved = node.target(*args, **kwargs)  # type: ignore[operator]
        return self._traced(moved, shape, given[0].not_zero)

    def _as_numbers(self, node: fx.Node) -> Any:  # noqa: ANN401
        value = self._values[node]
        return value.full if isinstance(value, Traced) else value

    def _unknown(self, node: fx.Node) -> Any:  # noqa: ANN401
        what = self._what(node)
        self._fix_given(node, f"they go through {what}")
        return self._opaque(node, f"they come from {what}")

    def _what(self, node: fx.Node) -> str:
        layer = called(self.graph, node)
        return where(node) if layer is None else f"{where(node)} ({type(layer).__name__})"

    def _opaque(self, node: fx.Node, why: str) -> Any:  # noqa: ANN401
        def hidden(value: Any) -> Any:  # noqa: ANN401
            if not isinstance(value, Tensor):
                return value
            return Traced(self.channels.opaque(why).view([1] * value.dim()), value.shape)

        return map_aggregate(node.meta["value"], hidden)

    def _fix_given(self, node: fx.Node, why: str) -> None:
        for source in self._given(node):
            self.channels.fix(source.numbers, why)

    def _join_along(self, numbers: Tensor, axis: int) -> None:
        self.channels.join(numbers, numbers.narrow(axis, 0, 1).expand_as(numbers))

    def _traced(self, numbers: Tensor, shape: torch.Size, not_zero: str) -> Traced:
        return Traced(compressed(self.channels.labels(numbers)), shape, not_zero)

    def _along(self, node: fx.Node, numbers: Tensor, axis: int, not_zero: str = "") -> Traced:
        """The channels of what a layer gives, laid out along an axis."""
        shape = shape_of(node) or torch.Size()
        layout = [1] * len(shape)
        layout[axis] = len(numbers)
        return Traced(numbers.view(layout), shape, not_zero)

    def _fix_shared_weights(self) -> None:
        """Layers that lend their weights to others cannot lose some of them alone."""
        for layer in _lenders(self.graph):
            for held in (self.makes, self.works, self.reads):
                if layer in held:
                    why = f"the weights of {layer} are used in two places"
                    self.channels.fix(held[layer], why)


def _has_tensor(value: Any) -> bool:  # noqa: ANN401
    found: list[bool] = []
    map_aggregate(value, lambda part: found.append(isinstance(part, Tensor)))
    return any(found)


def _lenders(graph: fx.GraphModule) -> set[str]:
    """Layers with a parameter that another one has, too, or that the code reads by itself."""
    owners: dict[int, set[str]] = defaultdict(set)
    for name, parameter in graph.named_parameters(remove_duplicate=False):
        owners[id(parameter)].add(name.rpartition(".")[0])
    read = {str(node.target).rpartition(".")[0] for node in graph.graph.find_nodes(op="get_attr")}
    return read.union(*(names for names in owners.values() if len(names) > 1))
