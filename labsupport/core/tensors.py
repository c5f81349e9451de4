"""Tensors on disk with what is to be known about them: safetensors, whole or absent, no pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from labsupport.core.files import atomic_write

# What reading a file that is missing, broken or of another kind can raise, down to its use.
UNREADABLE = (OSError, SafetensorError, KeyError, TypeError, ValueError)


def write_tensors(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write tensors as one safetensors file; its metadata holds each value of `about` as JSON."""
    state = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_write(Path(path)) as temporary:
        save_file(state, temporary, {name: json.dumps(value) for name, value in about.items()})


def read_tensors(
    path: Path, device: torch.device | str = "cpu"
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `write_tensors` wrote: tensors and `about`. Raises one of UNREADABLE."""
    with safe_open(path, framework="pt", device=str(device)) as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata() or {}
    return tensors, {name: json.loads(value) for name, value in metadata.items()}
