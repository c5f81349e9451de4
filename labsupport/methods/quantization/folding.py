"""Batch norms folded into the layers that they follow."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from typing import Any, cast

from torch import Tensor, fx, nn

from labsupport.network.batch_norm import fold_norm
from labsupport.network.parametrized import make_plain
from labsupport.network.tracing import called, shape_of, trace
from labsupport.network.weights import WEIGHTED

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def fold_batch_norm(network: nn.Module, input_shape: tuple[int, ...]) -> nn.Module:
    """A copy in which layers do the work of the batch norms that directly follow them.

    In eval mode it answers alike (Jacob et al. 2018, equation 14): weights and bias of the layer
    take in the norm's running mean and variance, scale and shift, and an identity takes its place.
    Where something else reads the layer too, the norm stays. Computed weights, as masked ones,
    become plain ones there. Raises LabError for a network with batch norms that cannot be traced.
    """
    folded = copy.deepcopy(network)
    if not any(isinstance(module, NORMS) for module in folded.modules()):
        return folded
    for layer, norm in list(_pairs(trace(folded, input_shape))):
        _fold(folded.get_submodule(layer), folded.get_submodule(norm))
        folded.set_submodule(norm, nn.Identity())
    return folded


def _pairs(graph: fx.GraphModule) -> Iterator[tuple[str, str]]:
    """Names of layers and of the norms that alone read them, each called once."""
    calls = Counter(str(node.target) for node in graph.graph.nodes if node.op == "call_module")
    for node in graph.graph.nodes:
        if not isinstance(called(graph, node), NORMS):
            continue
        layer = node.all_input_nodes[0]
        names = str(layer.target), str(node.target)
        once = len(layer.users) == 1 and all(calls[name] == 1 for name in names)
        if once and _fits(graph, layer, cast(Any, called(graph, node))):
            yield names


def _fits(graph: fx.GraphModule, node: fx.Node, norm: Any) -> bool:  # noqa: ANN401
    """Whether a norm has statistics, of what are the channels of the layer that a node calls."""
    layer, shape = called(graph, node), shape_of(node)
    if norm.running_mean is None or shape is None or not isinstance(layer, WEIGHTED):
        return False
    return not isinstance(layer, nn.Linear) or len(shape) == 2  # in 3-D they are another axis


def _fold(layer: nn.Module, norm: nn.Module) -> None:
    weight, bias = fold_norm(cast(Tensor, layer.weight), cast("Tensor | None", layer.bias), norm)
    make_plain(layer, "weight", weight)
    make_plain(layer, "bias", nn.Parameter(bias, requires_grad=weight.requires_grad))
