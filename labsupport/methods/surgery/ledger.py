"""What is known of a network's channels while its calls are followed one after the other."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from torch import Size, Tensor, fx
from torch.fx.node import map_aggregate, map_arg

from labsupport.methods.surgery.identities import Identities, Traced, compressed
from labsupport.network.tracing import called, shape_of, where


class Ledger:
    """What a traced network does with channels.

    `makes` holds the numbers of a layer's outputs, `works` those that a batch norm or depthwise
    convolution passes on, `reads` those of its inputs: int64 (features,), by the layer's name.
    `values` is what each call gives: a Traced, tuples of them, or a number.
    """

    def __init__(self, graph: fx.GraphModule) -> None:
        self.graph = graph
        self.channels = Identities()
        self.makes: dict[str, Tensor] = {}
        self.works: dict[str, Tensor] = {}
        self.reads: dict[str, Tensor] = {}
        self.values: dict[fx.Node, Any] = {}

    def given(self, node: fx.Node) -> list[Traced]:
        """All tensors that a call takes, in the order of its arguments."""
        found: list[Traced] = []

        def note(value: Any) -> None:  # noqa: ANN401
            if isinstance(value, Traced):
                found.append(value)

        map_arg((node.args, node.kwargs), lambda n: map_aggregate(self.values[n], note))
        return found

    def as_numbers(self, node: fx.Node) -> Any:  # noqa: ANN401
        """What a call gives, with the numbers of its channels in place of a tensor."""
        value = self.values[node]
        return value.full if isinstance(value, Traced) else value

    def what(self, node: fx.Node) -> str:
        """A call for the reader: where it is, and the class of its layer."""
        layer = called(self.graph, node)
        return where(node) if layer is None else f"{where(node)} ({type(layer).__name__})"

    def opaque(self, node: fx.Node, why: str) -> Any:  # noqa: ANN401
        """What a call gives, each tensor of channels that fix those they are joined with."""

        def hidden(value: Any) -> Any:  # noqa: ANN401
            if not isinstance(value, Tensor):
                return value
            return Traced(self.channels.opaque(why).view([1] * value.dim()), value.shape)

        return map_aggregate(node.meta["value"], hidden)

    def fix_given(self, node: fx.Node, why: str) -> None:
        """Let the channels stay that a call takes."""
        for source in self.given(node):
            self.channels.fix(source.numbers, why)

    def join_along(self, numbers: Tensor, axis: int) -> None:
        """Let channels belong together that differ on an axis alone."""
        self.channels.join(numbers, numbers.narrow(axis, 0, 1).expand_as(numbers))

    def traced(self, numbers: Tensor, shape: Size, not_zero: str) -> Traced:
        """A tensor of channels, each numbered as the first that it belongs to."""
        return Traced(compressed(self.channels.labels(numbers)), shape, not_zero)

    def laid_out(self, node: fx.Node, numbers: Tensor, axis: int, not_zero: str = "") -> Traced:
        """The channels of what a layer gives, laid out along an axis."""
        shape = shape_of(node) or Size()
        layout = [1] * len(shape)
        layout[axis] = len(numbers)
        return Traced(numbers.view(layout), shape, not_zero)

    def fix_shared_weights(self) -> None:
        """Layers that lend their weights to others cannot lose some of them alone."""
        for layer in _lenders(self.graph):
            for held in (self.makes, self.works, self.reads):
                if layer in held:
                    why = f"the weights of {layer} are used in two places"
                    self.channels.fix(held[layer], why)


def _lenders(graph: fx.GraphModule) -> set[str]:
    """Layers with a parameter that another one has, too, or that the code reads by itself."""
    owners: dict[int, set[str]] = defaultdict(set)
    for name, parameter in graph.named_parameters(remove_duplicate=False):
        owners[id(parameter)].add(name.rpartition(".")[0])
    read = {str(node.target).rpartition(".")[0] for node in graph.graph.find_nodes(op="get_attr")}
    return read.union(*(names for names in owners.values() if len(names) > 1))
