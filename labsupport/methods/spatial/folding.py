"""What makes the map that a ReLU gets: a convolution, batch norms, and what is added to them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from labsupport.methods.spatial.sites import ADDITIONS, CALLS, ELEMENTWISE
from labsupport.network.batch_norm import fold_norm
from labsupport.network.tracing import called


@dataclass(frozen=True)
class Source:
    """A convolution's call, the batch norms behind it, and what is added before the ReLU.

    `nodes` are the calls from the one before the ReLU back to the convolution's.
    """

    nodes: tuple[fx.Node, ...]
    norms: tuple[nn.BatchNorm2d, ...]
    added: fx.Node | None

    @property
    def call(self) -> fx.Node:
        """The convolution's call."""
        return self.nodes[-1]


def source_of(graph: fx.GraphModule, relu: fx.Node, convolution: str) -> Source | None:
    """How a convolution, by name, makes what a ReLU gets, with one addition at most behind it.

    None where it takes part in another way: two additions, a batch norm behind one, or one that
    always takes the statistics of the batch.
    """
    last = relu.all_input_nodes[0]
    ends: list[tuple[fx.Node, fx.Node | None]] = [(last, None)]
    if last.kwargs.get("alpha", 1) != 1:
        return None
    if last.op in CALLS and last.target in ADDITIONS and len(last.all_input_nodes) == 2:
        left, right = last.all_input_nodes
        ends = [(left, right), (right, left)]
    for end, added in ends:
        line = list(_line_back(graph, end))
        if line and line[-1].target == convolution:
            layers = [called(graph, node) for node in reversed(line)]
            norms = tuple(layer for layer in layers if isinstance(layer, nn.BatchNorm2d))
            nodes = line if added is None else [last, *line]
            return Source(tuple(nodes), norms, added) if all(map(_is_fixed, norms)) else None
    return None


def _is_fixed(norm: nn.BatchNorm2d) -> bool:
    return norm.running_mean is not None


def _line_back(graph: fx.GraphModule, node: fx.Node) -> Iterator[fx.Node]:
    """A call and those before it, through batch norms, to a convolution; empty without one."""
    line = [node]
    while isinstance(called(graph, line[-1]), ELEMENTWISE):
        line.append(line[-1].all_input_nodes[0])
    return iter(line if isinstance(called(graph, line[-1]), nn.Conv2d) else [])


@torch.no_grad()
def folded(convolution: nn.Conv2d, norms: Iterable[nn.BatchNorm2d]) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution with its batch norms, in eval mode, folded into it."""
    weight, bias = convolution.weight, convolution.bias
    if bias is None:
        bias = nn.Parameter(weight.new_zeros(len(weight)))
    for norm in norms:
        weight, bias = fold_norm(weight, bias, norm)
    return weight.detach(), bias.detach()
