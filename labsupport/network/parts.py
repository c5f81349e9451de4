"""Networks as dense tensors and a description in JSON: what their files are made of."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from labsupport.core.description import Json
from labsupport.core.errors import LabError
from labsupport.core.names import NOTEBOOK, look_up
from labsupport.core.tensors import UNREADABLE, components
from labsupport.network.assembly import put_together
from labsupport.network.structure import Structure, take_apart

# What putting together a network from parts that do not fit can raise, besides LabError.
UNFIT = (*UNREADABLE, AttributeError, RuntimeError)


def to_parts(network: nn.Module) -> tuple[dict[str, Tensor], dict[str, Json]]:
    """A network as dense tensors by name, and JSON that says how it is made of them.

    Raises LabError for what no file can hold, see `storage.save`.
    """
    structure = take_apart(network)
    check_classes(structure)
    parts: dict[str, Tensor] = {}
    try:
        for name, tensor in structure.tensors.items():
            parts |= components(name, tensor)
    except ValueError as error:
        raise LabError(str(error), "keep dense tensors or CSR ones") from None
    unusual = {name: _unusual(tensor) for name, tensor in structure.tensors.items()}
    return parts, {
        "network": structure.modules,
        "tensors": {name: marks for name, marks in unusual.items() if marks},
    }


def from_parts(
    parts: Mapping[str, Tensor], description: Mapping[str, Any], device: torch.device | str = "cpu"
) -> nn.Module:
    """The network that `to_parts` was given, in eval mode. Raises LabError or one of UNFIT."""
    unusual = description["tensors"]
    names = [name for name in unusual if "csr" in unusual[name]]
    dense = {n: t for n, t in parts.items() if n.rpartition(".")[0] not in names}
    stored = dense | {name: _csr(name, parts, unusual[name]["csr"]) for name in names}
    slots = {n for record in description["network"].values() for n in _parameters(record)}
    tensors = {
        name: _as_it_was(tensor.to(device), unusual.get(name, {}), name in slots)
        for name, tensor in stored.items()
    }
    return put_together(Structure(description["network"], tensors))


def check_classes(structure: Structure) -> None:
    """Raises LabError for a class that another process could not import."""
    for record in structure.modules.values():
        module, _, name = record["class"].partition(":")
        if module in NOTEBOOK or "<locals>" in name:
            problem = f"{name} is defined in the notebook, the script or a function"
            raise LabError(problem, "put the class into a module of its own and import it")
        look_up(record["class"])


def _parameters(record: Mapping[str, Json]) -> list[str]:
    return [name for name in record.get("parameters", {}).values() if name]


def _unusual(tensor: Tensor) -> dict[str, Json]:
    """What the file of a tensor's values does not say."""
    marks: dict[str, Json] = {}
    if isinstance(tensor, nn.Parameter) and not tensor.requires_grad:
        marks["frozen"] = True
    if tensor.layout == torch.sparse_csr:
        marks["csr"] = list(tensor.shape)
    elif _is_permuted(tensor):
        marks["strides"] = list(tensor.stride())
    return marks


def _is_permuted(tensor: Tensor) -> bool:
    """Whether values lie densely, in another order than that of the indices: channels last."""
    usual = torch.empty(tensor.shape, device="meta").stride()
    return usual != tensor.stride() == torch.empty_like(tensor, device="meta").stride()


def _csr(name: str, parts: Mapping[str, Tensor], shape: list[int]) -> Tensor:
    rows, columns, values = (
        parts[f"{name}.{part}"] for part in ("crow_indices", "col_indices", "values")
    )
    with warnings.catch_warnings():  # torch says that its CSR tensors are a beta feature
        warnings.simplefilter("ignore", UserWarning)
        return torch.sparse_csr_tensor(rows, columns, values, shape, check_invariants=True)


def _as_it_was(tensor: Tensor, marks: Mapping[str, Json], is_parameter: bool) -> Tensor:
    if "strides" in marks:
        strides = marks["strides"]
        last = sum((n - 1) * s for n, s in zip(tensor.shape, strides, strict=True))
        if min(strides) < 1 or last != math.prod(tensor.shape) - 1:
            raise ValueError(f"strides {strides}")
        empty = torch.empty_strided(tensor.shape, strides, dtype=tensor.dtype, device=tensor.device)
        tensor = empty.copy_(tensor)
    if not is_parameter:
        return tensor
    return nn.Parameter(tensor, requires_grad="frozen" not in marks)
