"""Tensors on disk with what is to be known about them: safetensors, whole or absent, no pickle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save, save_file
from torch import Tensor

from labsupport.core.files import atomic_write

# What reading a file that is missing, broken or of another kind can raise, down to its use.
UNREADABLE = (OSError, SafetensorError, KeyError, TypeError, ValueError)


def write_tensors(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write tensors as one safetensors file; its metadata holds each value of `about` as JSON.

    A checksum of both goes with them. Raises TypeError for a value that is no JSON.
    """
    content = _content(tensors, about)
    with atomic_write(Path(path)) as temporary:
        save_file(content[0], temporary, content[1])


def tensors_size(tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> int:
    """Bytes of the file that `write_tensors` would write."""
    return len(save(*_content(tensors, about)))


def read_tensors(
    path: Path, device: torch.device | str = "cpu"
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `write_tensors` wrote: tensors and `about`. Raises one of UNREADABLE."""
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata() or {}
    if metadata.pop("checksum", None) != _checksum(tensors, metadata):
        raise ValueError("the checksum does not fit")
    about = {name: json.loads(value) for name, value in metadata.items()}
    # Copied, as in the file tensors begin anywhere: kernels round in another order there.
    return {name: tensor.to(device, copy=True) for name, tensor in tensors.items()}, about


def read_metadata(path: Path) -> dict[str, Any]:
    """The `about` of a file alone. Raises one of UNREADABLE."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
    return {name: json.loads(text) for name, text in metadata.items() if name != "checksum"}


def components(name: str, tensor: Tensor) -> dict[str, Tensor]:
    """A tensor as dense ones by name: itself, or the three that make a CSR tensor.

    Raises ValueError for another sparse layout.
    """
    tensor = tensor.detach()
    if tensor.layout == torch.strided:
        return {name: tensor}
    if tensor.layout != torch.sparse_csr:
        raise ValueError(f"{name} is stored as {tensor.layout}")
    parts = ("crow_indices", "col_indices", "values")
    return {f"{name}.{part}": getattr(tensor, part)() for part in parts}


def raw_bytes(tensor: Tensor) -> memoryview:
    """The values of a dense tensor as bytes, in the order of its indices."""
    # A lone value of a larger tensor counts as contiguous, but keeps a stride that has no view.
    values = tensor.detach().cpu().reshape(-1).clone(memory_format=torch.contiguous_format)
    return values.view(torch.uint8).numpy().data


def _content(
    tensors: Mapping[str, Tensor], about: Mapping[str, Any]
) -> tuple[dict[str, Tensor], dict[str, str]]:
    # Cloned, as safetensors refuses tensors that share memory.
    state = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    metadata = {name: json.dumps(value) for name, value in about.items()}
    return state, metadata | {"checksum": _checksum(state, metadata)}


def _checksum(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    digest = hashlib.sha256(json.dumps(dict(metadata), sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)}".encode())
        digest.update(raw_bytes(tensors[name]))
    return digest.hexdigest()


def hash_tensors(tensors: list[Tensor]) -> str:
    """32 hexadecimal digits that stand for the tensors' shapes, types and values."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(f"{tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()[:32]
