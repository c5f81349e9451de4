"""A network taken apart into a description and its tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain, count
from typing import Any

from torch import Tensor, fx, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter
from torch.nn.utils import parametrize

from labsupport.core.description import Json, describe
from labsupport.core.errors import LabError
from labsupport.network.graphs import describe_graph

BUILT_IN = frozenset(vars(nn.Module()))  # what every module has: children, hooks, mode


@dataclass(frozen=True)
class Structure:
    """All that a network is, its mode and gradients aside.

    `modules` describes each module once, by its path: class, plain attributes, the names of its
    tensors, the paths of its children. `tensors` are the network's own, each once.
    """

    modules: dict[str, dict[str, Json]]
    tensors: dict[str, Tensor]


def take_apart(network: nn.Module) -> Structure:
    """The structure of a network.

    Raises LabError for an attribute without a description, and for hooks of a forward call.
    """
    return _Parts(network).structure()


def class_name(module: nn.Module) -> str:
    """The class of a module as "module:qualified.name"; torch's made-up classes give their base."""
    kind = _base(module)
    return f"{kind.__module__}:{kind.__qualname__}"


class _Parts:
    """Names for the modules and tensors of one network, given as they are first met."""

    def __init__(self, network: nn.Module) -> None:
        self.modules = dict(network.named_modules())
        self.paths = {id(module): path for path, module in self.modules.items()}
        self.tensors: dict[str, Tensor] = {}
        self.names: dict[int, str] = {}

    def structure(self) -> Structure:
        for path, module in self.modules.items():  # first, so that tensors go by usual names
            for name, tensor in (module._parameters | module._buffers).items():
                self.name_of(tensor, f"{path}.{name}".lstrip("."))
        return Structure({path: self.record(path) for path in self.modules}, self.tensors)

    def record(self, path: str) -> dict[str, Json]:
        module = self.modules[path]
        if module._forward_hooks or module._forward_pre_hooks:
            problem = f"{path or type(module).__name__} has hooks, which change what it computes"
            raise LabError(problem, "use parametrizations, or remove the hooks")
        parts = {
            "attributes": self.attributes(path),
            "parameters": self.names_of(module._parameters),
            "buffers": self.names_of(module._buffers),
            "transient": sorted(module._non_persistent_buffers_set),
            "children": {
                name: None if child is None else self.paths[id(child)]
                for name, child in module._modules.items()
            },
            "parametrized": parametrize.is_parametrized(module),
        }
        if isinstance(module, fx.GraphModule):
            parts |= {"traced": type(module).__name__, "graph": describe_graph(module.graph)}
        return {"class": class_name(module)} | {key: part for key, part in parts.items() if part}

    def attributes(self, path: str) -> Json:
        module = self.modules[path]
        special = {
            Tensor: lambda tensor: {"$tensor": self.name_of(tensor, f"{path}.attribute")},
            nn.Module: self.path_of,
        }
        return {
            name: _described(value, special, f"{name} of {path or type(module).__name__}")
            for name, value in sorted(_attributes(module).items())
        }

    def path_of(self, module: nn.Module) -> Json:
        if id(module) not in self.paths:
            problem = f"a {type(module).__name__} stands outside the network's children"
            raise LabError(problem, "keep modules as attributes or in an nn.ModuleList")
        return {"$module": self.paths[id(module)]}

    def names_of(self, tensors: Mapping[str, Tensor | None]) -> Json:
        return {name: self.name_of(tensor, name) for name, tensor in tensors.items()}

    def name_of(self, tensor: Tensor | None, wish: str) -> str | None:
        if tensor is None:
            return None
        if id(tensor) not in self.names:
            _check(tensor, wish)
            variants = chain([wish], (f"{wish}.{n}" for n in count(1)))
            name = next(variant for variant in variants if variant not in self.tensors)
            self.names[id(tensor)] = name
            self.tensors[name] = tensor
        return self.names[id(tensor)]


def _check(tensor: Tensor, name: str) -> None:
    if isinstance(tensor, UninitializedParameter | UninitializedBuffer):
        raise LabError(f"{name} has no shape yet", "run the network once, which gives it one")
    if type(tensor) not in (Tensor, nn.Parameter):
        problem = f"{name} is a {type(tensor).__name__}"
        raise LabError(problem, "keep plain tensors and parameters in a network")


def _described(value: object, special: Mapping[type, Any], where: str) -> Json:
    try:
        return describe(value, special)
    except LabError as error:
        raise LabError(f"{where}: {error.problem}", error.remedy) from None


def _base(module: nn.Module) -> type[nn.Module]:
    """A class that can be imported: torch derives one for each graph and parametrized module."""
    if isinstance(module, fx.GraphModule):
        return fx.GraphModule
    return type(module).__bases__[0] if parametrize.is_parametrized(module) else type(module)


def _attributes(module: nn.Module) -> dict[str, object]:
    """What a module has of its own, as it would be copied: `__getstate__` may leave things out."""
    if isinstance(module, fx.GraphModule):
        return {}  # its code follows from its graph
    state = _base(module).__getstate__(module)  # type: ignore[no-untyped-call]
    if not isinstance(state, dict):
        problem = f"{type(module).__name__} keeps its state in slots"
        raise LabError(problem, "use plain attributes")
    return {name: value for name, value in state.items() if name not in BUILT_IN}
