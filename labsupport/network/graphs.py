"""A traced graph as a list of its calls, and back: what torch.fx would otherwise pickle."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from torch import Tensor, fx, nn

from labsupport.core.description import Json, describe, restore
from labsupport.core.errors import LabError
from labsupport.core.names import computes, look_up, reference

PUBLIC = re.compile(r"[A-Za-z]\w*")
PATH = re.compile(r"\w+(\.\w+)*")
PARTS = ("values", "indices")  # of what torch.max and its like give
REFUSED_TAGS = ("$reference", "$dataclass", "$partial", "$member")  # as arguments


def describe_graph(graph: fx.Graph) -> list[Json]:
    """Each call's name, kind, target and arguments. Raises LabError for one that no file may hold.

    Shapes and other notes in the nodes' `meta` are left out.
    """
    special: dict[type, Any] = {fx.Node: lambda node: {"$node": node.name}}
    calls = []
    for node in graph.nodes:
        target = node.target if isinstance(node.target, str) else reference(node.target)
        call = {"name": node.name, "op": node.op, "target": target}
        given = {"args": describe(tuple(node.args), special)["$tuple"]}
        given["kwargs"] = describe(dict(node.kwargs), special)
        calls.append(call | {key: value for key, value in given.items() if value})
    for call in calls:
        _check(call)
    return calls


def restore_graph(calls: list[Json], module: nn.Module) -> fx.Graph:
    """The graph of such a list, for a module that has the layers and tensors it calls.

    Raises LabError for calls of anything but layers, methods of tensors, and computing functions.
    """
    graph, nodes = fx.Graph(), dict[str, fx.Node]()
    for call in calls:
        _check(call)
        op, target = call["op"], call["target"]
        special = {"$node": nodes.__getitem__} | dict.fromkeys(REFUSED_TAGS, _refuse)
        args, kwargs = (restore(call.get(key, []), special) for key in ("args", "kwargs"))
        if op in ("call_module", "get_attr"):
            _follow(module, target)
        made = look_up(target) if op == "call_function" else target
        node = graph.create_node(op, made, tuple(args), dict(kwargs), call["name"])
        nodes[call["name"]] = node
    return graph


def _check(call: dict[str, Json]) -> None:
    """Refuse what would reach beyond tensors, or would not stay a name in torch.fx's code."""
    op, target = call["op"], call["target"]
    allowed: dict[str, Callable[[str], object]] = {
        "placeholder": PUBLIC.fullmatch,
        "output": "output".__eq__,
        "call_module": PATH.fullmatch,
        "get_attr": PATH.fullmatch,
        "call_method": lambda name: PUBLIC.fullmatch(name) and hasattr(Tensor, name),
        "call_function": computes,
    }
    reaches = target == "builtins:getattr" and not _reads_a_value(call.get("args", []))
    names = all(map(PUBLIC.fullmatch, call.get("kwargs", {})))
    if op not in allowed or not allowed[op](target) or reaches or not names:
        problem = f"a network that calls {target} ({op}) cannot be kept in a file"
        raise LabError(problem, "let its forward call layers and functions of torch alone")


def _reads_a_value(args: list[Json]) -> bool:
    """Whether getattr gets a property such as a shape, or a part of a result; never a method."""
    name = args[1] if len(args) > 1 else None
    if not isinstance(name, str) or not PUBLIC.fullmatch(name):
        return False
    return name in PARTS or not callable(getattr(Tensor, name, callable))


def _refuse(content: Json) -> Any:  # noqa: ANN401
    raise LabError(f"a traced call takes no {content}", "save the network again")


def _follow(module: nn.Module, path: str) -> Any:  # noqa: ANN401
    """What stands at a path of a module. Raises LabError where nothing does."""
    thing: Any = module
    for name in path.split("."):
        parts = thing._modules | thing._parameters | thing._buffers
        if name not in parts:
            raise LabError(f"the network has no {path}", "save it again with this version")
        thing = parts[name]
    return thing
