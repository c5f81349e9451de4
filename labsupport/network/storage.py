"""Networks on disk, of every kind: one safetensors file each, with a readable header, no pickle.

The header's metadata holds the format and its version, torch's version, a description of every
module (`network`), what is unusual about single tensors (`tensors`), and `about`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from labsupport.core.description import Json, describe, restore
from labsupport.core.errors import LabError
from labsupport.core.names import NOTEBOOK, look_up
from labsupport.core.tensors import (
    UNREADABLE,
    components,
    read_metadata,
    read_tensors,
    tensors_size,
    write_tensors,
)
from labsupport.network.assembly import put_together
from labsupport.network.structure import Structure, take_apart

FORMAT, VERSION = "labsupport network", 1


def save(network: nn.Module, path: Path | str, about: Mapping[str, Any] | None = None) -> None:
    """Write a network as one file, with what is to be known `about` it.

    Gradients and modes are not kept. Raises LabError for a class that another process could not
    import (one defined in a notebook), for attributes that have no description, and for hooks.
    """
    write_tensors(Path(path), *_content(network, about))


def load(path: Path | str, device: torch.device | str = "cpu") -> nn.Module:
    """The network that `save` wrote, in eval mode; torch's random state stays as it was.

    Classes and functions are imported by their names, no code of the file runs. Raises LabError
    for a file that is missing, damaged, of another kind or of a newer version, and for a device
    that this machine does not have.
    """
    path = Path(path)
    _header(path)
    _check_device(device)
    try:
        parts, header = read_tensors(path)
        unusual = header["tensors"]
        names = [name for name in unusual if "csr" in unusual[name]]
        dense = {n: t for n, t in parts.items() if n.rpartition(".")[0] not in names}
        stored = dense | {name: _csr(name, parts, unusual[name]["csr"]) for name in names}
        slots = {n for record in header["network"].values() for n in _parameters(record)}
        tensors = {
            name: _as_it_was(tensor.to(device), unusual.get(name, {}), name in slots)
            for name, tensor in stored.items()
        }
        return put_together(Structure(header["network"], tensors))
    except (*UNREADABLE, AttributeError, RuntimeError) as error:
        raise _damaged(path, error) from None


def read_about(path: Path | str) -> dict[str, Any]:
    """What `save` was given as `about`.

    Reads the header only: tensors and checksum are not looked at. Raises LabError as `load` does.
    """
    header = _header(path := Path(path))
    try:
        return dict(restore(header["about"]))
    except UNREADABLE as error:
        raise _damaged(path, error) from None


def file_bytes(network: nn.Module) -> int:
    """Bytes of the file that `save` writes of a network, header included."""
    return tensors_size(*_content(network, None))


def check_storable(network: nn.Module) -> None:
    """Raises LabError for a network that `save` would refuse."""
    _check_classes(take_apart(network))


def _content(
    network: nn.Module, about: Mapping[str, Any] | None
) -> tuple[dict[str, Tensor], dict[str, Json]]:
    structure = take_apart(network)
    _check_classes(structure)
    parts: dict[str, Tensor] = {}
    try:
        for name, tensor in structure.tensors.items():
            parts |= components(name, tensor)
    except ValueError as error:
        raise LabError(str(error), "keep dense tensors or CSR ones") from None
    unusual = {name: _unusual(tensor) for name, tensor in structure.tensors.items()}
    return parts, {
        "format": FORMAT,
        "version": VERSION,
        "torch": torch.__version__,
        "network": structure.modules,
        "tensors": {name: marks for name, marks in unusual.items() if marks},
        "about": describe(dict(about or {})),
    }


def _check_classes(structure: Structure) -> None:
    for record in structure.modules.values():
        module, _, name = record["class"].partition(":")
        if module in NOTEBOOK or "<locals>" in name:
            problem = f"{name} is defined in the notebook, the script or a function"
            raise LabError(problem, "put the class into a module of its own and import it")
        look_up(record["class"])


def _header(path: Path) -> dict[str, Any]:
    try:
        header = read_metadata(path)
        if header.get("format") != FORMAT:
            raise ValueError("it has another format")
        version = int(header["version"])
    except UNREADABLE as error:
        raise _damaged(path, error) from None
    if version > VERSION:
        problem = f"{path} was written by a newer version of the course (format {version})"
        raise LabError(problem, "update this one")
    return header


def _check_device(device: torch.device | str) -> None:
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError):  # the latter where torch was built without it
        raise LabError(f"there is no device {device} here", 'load onto the "cpu"') from None


def _damaged(path: Path, error: Exception) -> LabError:
    if not path.exists():
        return LabError(f"there is no file {path}", "check its name, or save the network again")
    reason = str(error) or type(error).__name__
    return LabError(f"{path} holds no network that can be read: {reason}", "save it again")


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
