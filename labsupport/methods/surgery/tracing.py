"""A network as a graph of calls: what each layer gets, what it gives, in which shapes."""

from __future__ import annotations

import warnings

import torch
from torch import Size, fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from labsupport.errors import LabError
from labsupport.measure.modes import evaluating, example


def trace(model: nn.Module, input_shape: tuple[int, ...]) -> fx.GraphModule:
    """The calls of a network in eval mode, each node's shape for two examples in its `meta`.

    Its modules are the network's own. Raises LabError for a network that cannot be traced (one
    that decides by the values it sees) or does not take the input.
    """
    name = type(model).__name__
    with evaluating(model), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            graph = fx.symbolic_trace(model)
        except Exception as error:  # torch.fx raises what the network's own code raises
            problem = f"{name} cannot be traced: {_first_line(error)}"
            raise LabError(problem, "write its forward without decisions on values") from None
        try:
            ShapeProp(graph).propagate(example(model, input_shape, batch=2))
        except RuntimeError as error:
            problem = f"{name} does not take an input of {input_shape}: {_first_line(error)}"
            raise LabError(problem, "give the shape of one example") from None
    return graph


def shape_of(node: fx.Node) -> Size | None:
    """The shape of what a call gives, for two examples; None where it is not one tensor."""
    meta = node.meta.get("tensor_meta")
    return getattr(meta, "shape", None)


def inputs(node: fx.Node) -> list[fx.Node]:
    """The calls whose tensors this one takes."""
    return [given for given in node.all_input_nodes if shape_of(given) is not None]


def called(graph: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    """The layer that a node calls, None where it calls a function."""
    return graph.get_submodule(str(node.target)) if node.op == "call_module" else None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
