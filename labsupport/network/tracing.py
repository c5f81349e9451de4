"""A network as a graph of calls: what each layer gets, what it gives, in which shapes."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Size, Tensor, fx, nn
from torch.nn.utils import parametrize

from labsupport.core.errors import LabError
from labsupport.network.calls import example
from labsupport.network.modes import evaluating


def trace(model: nn.Module, input_shape: Sequence[int]) -> fx.GraphModule:
    """The calls of a network in eval mode, each node's shape for two examples in its `meta`.

    Its modules are the network's own. Raises LabError for a network that cannot be traced (one
    that decides by the values it sees), does not take the input, or computes its weights.
    """
    name = type(model).__name__
    _check_plain(model)
    with evaluating(model), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            graph = fx.symbolic_trace(model)
        except Exception as error:  # torch.fx raises what the network's own code raises
            problem = f"{name} cannot be traced: {_first_line(error)}"
            raise LabError(problem, "write its forward without decisions on values") from None
        shapes = _Shapes(graph)
        try:
            shapes.run(example(model, tuple(input_shape), batch=2))
        except Exception as error:
            what = f"{input_shape} at {shapes.at}: {_first_line(error)}"
            problem = f"{name} does not take an input of {what}"
            raise LabError(problem, "give the shape of one example") from None
    return graph


class _Shapes(fx.Interpreter):
    """Runs a graph once and notes the shape of every tensor."""

    at = "its input"

    def run_node(self, n: fx.Node) -> Any:  # noqa: ANN401  (whatever the network computes)
        self.at = where(n)
        result = super().run_node(n)
        if isinstance(result, Tensor):
            n.meta["shape"] = result.shape
        return result


def shape_of(node: fx.Node) -> Size | None:
    """The shape of what a call gives, for two examples; None where it is not one tensor."""
    return node.meta.get("shape")


def inputs(node: fx.Node) -> list[fx.Node]:
    """The calls whose tensors this one takes."""
    return [given for given in node.all_input_nodes if shape_of(given) is not None]


def called(graph: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    """The layer that a node calls, None where it calls a function."""
    return graph.get_submodule(str(node.target)) if node.op == "call_module" else None


def where(node: fx.Node) -> str:
    """A node's name for a reader: the layer's, or the function's."""
    return str(getattr(node.target, "__name__", node.target))


def _check_plain(model: nn.Module) -> None:
    for name, layer in model.named_modules():
        if parametrize.is_parametrized(layer) or hasattr(layer, "weight_g"):
            problem = f"{name or type(layer).__name__} computes its weights from others"
            raise LabError(problem, "make them plain first, as `settled` does with masks")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
