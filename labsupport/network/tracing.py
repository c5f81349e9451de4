"""A network as a graph of calls: what each layer gets, what it gives, in which shapes.

A network that decides by the values it sees has no such graph. One that has a method
`all_logits(x)`, which gives the logits of all its exits without deciding, is traced through that.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Size, Tensor, fx, nn
from torch.fx.node import map_aggregate
from torch.nn.utils import parametrize

from labsupport.core.errors import LabError, summarize
from labsupport.network.calls import example, is_leaf
from labsupport.network.counting import HasCost
from labsupport.network.modes import evaluating


def trace(model: nn.Module, input_shape: Sequence[int]) -> fx.GraphModule:
    """The calls of a network in eval mode, and in each node's `meta["value"]` what it gives.

    These are the values for two examples, tensors without their content. The graph's modules are
    the network's own. Raises LabError for a network that cannot be traced or does not take the
    input.
    """
    graph = calls_of(model)
    with evaluating(model), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        values = _Values(graph)
        try:
            values.run(example(model, tuple(input_shape), batch=2))
        except Exception as error:  # torch.fx raises what the network's own code raises
            what = f"{input_shape} at {values.at}: {summarize(error)}"
            problem = f"{type(model).__name__} does not take an input of {what}"
            raise LabError(problem, "give the shape of one example") from None
    return graph


def calls_of(model: nn.Module) -> fx.GraphModule:
    """The calls of a network in eval mode, without shapes; its modules are the network's own.

    `meta["returned_by"]` of a node names the modules that give its value, innermost first. What a
    network's code itself calls with `training=self.training` stays as in eval mode. Raises
    LabError for a network that cannot be traced.
    """
    tracer = _Tracer()
    tracer.traced_func_name = "all_logits" if hasattr(model, "all_logits") else "forward"
    with evaluating(model), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return fx.GraphModule(model, tracer.trace(model), type(model).__name__)
        except Exception as error:  # torch.fx raises what the network's own code raises
            problem = f"{type(model).__name__} cannot be traced: {summarize(error)}"
            raise LabError(problem, "write its forward without decisions on values") from None


class _Tracer(fx.Tracer):
    """Notes which modules a value comes from.

    A layer that holds weights itself, or says itself what it costs, is one call. What else than
    its input a network could be given keeps its default.
    """

    def create_args_for_root(
        self,
        root_fn: Callable[..., Any],
        is_module: bool,
        concrete_args: Any = None,  # noqa: ANN401  (torch.fx's own type)
    ) -> tuple[Callable[..., Any], list[Any]]:
        parameters = [*inspect.signature(root_fn).parameters.values()][2:]
        if not parameters or any(one.default is one.empty for one in parameters):
            return super().create_args_for_root(root_fn, is_module, concrete_args)

        def from_input(module: nn.Module, x: Tensor) -> Any:  # noqa: ANN401  (whatever it gives)
            return root_fn(module, x)

        return super().create_args_for_root(from_input, is_module, concrete_args)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if super().is_leaf_module(m, module_qualified_name):
            return True
        holds_tensors = any(True for _ in (*m.parameters(), *m.buffers()))
        of_torchvision = m.__module__.startswith("torchvision.")
        return is_leaf(m) and (holds_tensors or of_torchvision or isinstance(m, HasCost))

    def call_module(
        self,
        m: nn.Module,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:  # noqa: ANN401  (whatever the module gives)
        result = super().call_module(m, forward, args, kwargs)
        if isinstance(result, fx.Proxy):
            result.node.meta.setdefault("returned_by", []).append(self.path_of_module(m))
        return result


class _Values(fx.Interpreter):
    """Runs a graph once and notes every value, tensors as empty ones of the same shape."""

    at = "its input"

    def run_node(self, n: fx.Node) -> Any:  # noqa: ANN401  (whatever the network computes)
        self.at = where(n)
        result = super().run_node(n)
        n.meta["value"] = map_aggregate(result, _without_content)
        return result


def _without_content(value: Any) -> Any:  # noqa: ANN401  (torch.fx's own type)
    return value.to("meta") if isinstance(value, Tensor) else value


def shape_of(node: fx.Node) -> Size | None:
    """The shape of what a call gives, for two examples; None where it is not one tensor."""
    value = node.meta.get("value")
    return value.shape if isinstance(value, Tensor) else None


def inputs(node: fx.Node) -> list[fx.Node]:
    """The calls whose tensors this one takes."""
    return [given for given in node.all_input_nodes if shape_of(given) is not None]


def called(graph: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    """The layer that a node calls, None where it calls a function."""
    return graph.get_submodule(str(node.target)) if node.op == "call_module" else None


def where(node: fx.Node) -> str:
    """A node's name for a reader: the layer's, or the function's."""
    return str(getattr(node.target, "__name__", node.target))


def check_weights_are_plain(model: nn.Module) -> None:
    """Raises LabError for a network with a layer that computes its weights, as a mask does."""
    for name, layer in model.named_modules():
        if parametrize.is_parametrized(layer) or hasattr(layer, "weight_g"):
            problem = f"{name or type(layer).__name__} computes its weights from others"
            raise LabError(problem, "make them plain first, as `without_masks` does with masks")
