"""Sites: the ReLUs of a traced network after which zeros can be predicted."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import fx, nn
from torch.nn import functional as F

from labsupport.core.errors import LabError
from labsupport.methods.spatial.masks import Ofmap
from labsupport.network.tracing import called, shape_of, where

CALLS = {"call_function", "call_method"}  # a module of the network may have any name
RELU_CALLS = {F.relu, torch.relu, torch.relu_, "relu", "relu_"}
ADDITIONS = {operator.add, operator.iadd, torch.add, "add", "add_"}
ELEMENTWISE = (nn.BatchNorm2d, nn.Identity)  # each element by itself, between convolution and ReLU


@dataclass(frozen=True)
class Site:
    """A ReLU and the convolutions that make its ofmap, position by position.

    Several convolutions are coupled: their maps are added, so that a position that is predicted
    needs none of them.
    """

    relu: fx.Node
    convolutions: tuple[str, ...]
    ofmap: Ofmap


def sites(graph: fx.GraphModule, convolutions: Sequence[str] | None = None) -> list[Site]:
    """The sites of a traced network in the order of its calls, all or those of some convolutions.

    A convolution has one where all that becomes of its map, until a ReLU, are batch norms and sums
    with other maps of the same shape, and nothing else reads it on the way. Raises LabError for a
    convolution without a site, which says why, and for a network that has none.
    """
    if convolutions is not None and not convolutions:
        raise LabError("no convolution is chosen", "name some, or leave them out for all")
    calls = _convolution_calls(graph)
    relus: dict[fx.Node, list[str]] = {}
    for name, nodes in calls.items():
        relu = _relu_behind(graph, name, nodes)
        if isinstance(relu, fx.Node):
            relus.setdefault(relu, []).append(name)
    for name in convolutions or ():
        _check(graph, calls, name)
    if not relus:
        problem = "the network has no convolution whose map goes to a ReLU alone"
        raise LabError(problem, "give a network that has one")
    wanted = set(calls if convolutions is None else convolutions)
    in_order = [node for node in graph.graph.nodes if node in relus]
    return [_site(node, relus[node]) for node in in_order if wanted.intersection(relus[node])]


def _check(graph: fx.GraphModule, calls: dict[str, list[fx.Node]], name: str) -> None:
    if name not in calls:
        raise LabError(f"there is no convolution {name!r}", f"choose from {', '.join(calls)}")
    why = _relu_behind(graph, name, calls[name])
    if isinstance(why, str):
        problem = f"no zeros of {name} can be predicted: {why}"
        raise LabError(problem, "leave it out; its map has to go to a ReLU and nowhere else")


def _convolution_calls(graph: fx.GraphModule) -> dict[str, list[fx.Node]]:
    calls: dict[str, list[fx.Node]] = {}
    for node in graph.graph.nodes:
        if isinstance(called(graph, node), nn.Conv2d):
            calls.setdefault(str(node.target), []).append(node)
    return calls


def _relu_behind(graph: fx.GraphModule, name: str, calls: list[fx.Node]) -> fx.Node | str:
    """The ReLU that a convolution's map goes to; a string says why there is none."""
    if len(calls) > 1:
        return f"{name} is called {len(calls)} times"
    for node in _line(calls[0]):
        if is_relu(graph, node):
            return node
        layer = called(graph, node)
        passes = node is calls[0] or isinstance(layer, ELEMENTWISE) or _is_addition(node)
        if not passes:
            return f"it is followed by {where(node)}, not by a ReLU"
        if len(node.users) != 1:
            readers = ", ".join(where(user) for user in node.users) or "nothing"
            is_sum = _is_addition(node)
            value = "the sum that it is added to" if is_sum else f"what {where(node)} gives"
            return f"{value} is read by {readers}"
        if shape_of(node) != shape_of(calls[0]):
            return f"{where(node)} spreads it over a larger map"
    raise AssertionError("a traced call has users, until the output has none")


def _line(node: fx.Node) -> Iterator[fx.Node]:
    """A call, the first that reads it, the first that reads that one, and so on."""
    while True:
        yield node
        node = next(iter(node.users))


def _is_addition(node: fx.Node) -> bool:
    return node.op in CALLS and node.target in ADDITIONS


def is_relu(graph: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a call is a ReLU."""
    is_call = node.op in CALLS and node.target in RELU_CALLS
    return is_call or isinstance(called(graph, node), nn.ReLU)


def _site(relu: fx.Node, convolutions: list[str]) -> Site:
    shape = shape_of(relu)
    assert shape is not None
    _, channels, height, width = shape
    return Site(relu, tuple(convolutions), (channels, height, width))
