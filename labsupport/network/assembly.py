"""A network put together again from its description and its tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.nn.utils import parametrize

from labsupport.core.description import Json, restore
from labsupport.core.errors import LabError
from labsupport.core.names import look_up
from labsupport.network.graphs import restore_graph
from labsupport.network.structure import BUILT_IN, Structure


def put_together(structure: Structure) -> nn.Module:
    """The network of a structure, in eval mode, with the structure's tensors.

    Modules are made without their constructors, which would draw weights. Raises LabError for a
    class that cannot be imported or is no nn.Module, and for a structure that does not fit.
    """
    blanks = {path: _blank(record) for path, record in structure.modules.items()}
    for path, record in reversed(structure.modules.items()):  # children before their parents
        try:
            _fill(blanks[path], record, structure.tensors, blanks)
        except LabError:
            raise
        except Exception as error:  # a class of the network's own may raise anything
            problem = f"{record['class']} at {path or 'the top'} does not fit ({error!r})"
            raise LabError(problem, "save the network again with this version") from None
    return blanks[""]


def _blank(record: dict[str, Json]) -> nn.Module:
    if "graph" in record:
        return fx.GraphModule(nn.Module(), fx.Graph(), class_name=record["traced"])
    kind = look_up(record["class"])
    if not isinstance(kind, type) or not issubclass(kind, nn.Module):
        raise LabError(f"{record['class']} is no nn.Module", "look at where the file comes from")
    blank = kind.__new__(kind)
    nn.Module.__init__(blank)
    return blank


def _fill(
    blank: nn.Module,
    record: dict[str, Json],
    tensors: Mapping[str, Tensor],
    modules: Mapping[str, nn.Module],
) -> None:
    special = {"$tensor": tensors.__getitem__, "$module": modules.__getitem__}
    attributes = restore(record.get("attributes", {}), special)
    if not BUILT_IN.isdisjoint(attributes):
        raise ValueError(f"attributes {sorted(BUILT_IN & attributes.keys())}")
    state = vars(blank) | attributes
    for kind in ("parameters", "buffers"):
        state[f"_{kind}"] = _picked(record.get(kind, {}), tensors)
    state["_modules"] = _picked(record.get("children", {}), modules)
    state["_non_persistent_buffers_set"] = set(record.get("transient", ()))
    state["training"] = False
    blank.__setstate__(state)  # type: ignore[no-untyped-call]
    if "graph" in record:
        cast(fx.GraphModule, blank).graph = restore_graph(record["graph"], blank)
    if "parametrized" in record:
        _derive_class(blank)


def _picked(names: Mapping[str, str | None], things: Mapping[str, Any]) -> dict[str, Any]:
    return {key: None if name is None else things[name] for key, name in names.items()}


def _derive_class(module: nn.Module) -> None:
    """Let torch derive the class that computes weights, from parametrizations that do nothing."""
    children = module._modules
    real = children.pop("parametrizations")
    order = [*children, "parametrizations"]
    for name in cast(nn.ModuleDict, real):
        module.register_parameter(name, nn.Parameter(torch.empty(0)))
        parametrize.register_parametrization(module, name, nn.Identity(), unsafe=True)
    children["parametrizations"] = real
    module._modules = {name: children[name] for name in order}
