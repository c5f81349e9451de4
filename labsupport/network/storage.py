"""Networks on disk, of every kind: one safetensors file each, with a readable header, no pickle.

The header's metadata holds the format and its version, torch's version, a description of every
module (`network`), what is unusual about single tensors (`tensors`), and `about`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from labsupport.core.description import Json, describe, restore
from labsupport.core.errors import LabError
from labsupport.core.tensors import (
    UNREADABLE,
    read_metadata,
    read_tensors,
    tensors_size,
    write_tensors,
)
from labsupport.network.parts import UNFIT, check_classes, from_parts, to_parts
from labsupport.network.structure import take_apart

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
        return from_parts(*read_tensors(path), device)
    except UNFIT as error:
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
    check_classes(take_apart(network))


def _content(
    network: nn.Module, about: Mapping[str, Any] | None
) -> tuple[dict[str, Tensor], dict[str, Json]]:
    parts, description = to_parts(network)
    first = {"format": FORMAT, "version": VERSION, "torch": torch.__version__}
    return parts, first | description | {"about": describe(dict(about or {}))}


def check_version(path: Path, version: int, newest: int) -> None:
    """Raises LabError for a file of a newer version than this course reads."""
    if version > newest:
        problem = f"{path} was written by a newer version of the course (format {version})"
        raise LabError(problem, "update this one")


def _header(path: Path) -> dict[str, Any]:
    try:
        header = read_metadata(path)
        if header.get("format") != FORMAT:
            raise ValueError("it has another format")
        version = int(header["version"])
    except UNREADABLE as error:
        raise _damaged(path, error) from None
    check_version(path, version, VERSION)
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
