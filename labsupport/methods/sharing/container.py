"""Files of networks in few bytes: what kind, which version, what is in it, and a checksum."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from labsupport.core.errors import LabError
from labsupport.core.files import atomic_write
from labsupport.network.parts import UNFIT
from labsupport.network.storage import check_version

T = TypeVar("T")
NUMBER = 4  # bytes of the checksum
UNREADABLE = (*UNFIT, IndexError, zlib.error)
NO_NETWORK = "holds no network that can be read"


def write(
    path: Path | str, kind: bytes, version: int, content: bytes, associated: bytes = b""
) -> int:
    """Write one file, and give the bytes that it has besides its content.

    The checksum is of the associated data, too, which are not in the file: who reads it must have
    the same.
    """
    whole = kind + bytes([version]) + content
    with atomic_write(Path(path)) as temporary:
        temporary.write_bytes(whole + checksum(whole, associated))
    return len(whole) + NUMBER - len(content)


def read(
    path: Path | str,
    kind: bytes,
    version: int,
    parse: Callable[[bytes], T],
    associated: bytes = b"",
    problem: str = NO_NETWORK,
) -> T:
    """What `parse` makes of the content of a file.

    Raises LabError for a file that is missing or of a newer version than `version`, and, as
    `problem`, for one that is damaged, of another kind or of other associated data, and where
    `parse` raises one of UNREADABLE.
    """
    path = Path(path)
    if not path.exists():
        raise LabError(f"there is no file {path}", "check its name, or compress the network again")
    try:
        return parse(_content(path, kind, version, associated))
    except UNREADABLE as error:
        reason = str(error) or type(error).__name__
        raise LabError(f"{path} {problem}: {reason}", "compress it again") from None


def checksum(content: bytes, associated: bytes = b"") -> bytes:
    """Four bytes that change with the content and with the associated data."""
    return zlib.crc32(content, zlib.crc32(associated)).to_bytes(NUMBER, "big")


def as_tensor(content: bytes, dtype: torch.dtype, shape: Sequence[int]) -> Tensor:
    """The tensor whose values are these bytes. Raises RuntimeError where it has more or fewer."""
    if not content:
        return torch.empty(shape, dtype=dtype)
    # Cloned, as the bytes begin anywhere in memory: kernels round in another order there.
    return torch.frombuffer(bytearray(content), dtype=dtype).reshape(shape).clone()


def _content(path: Path, kind: bytes, version: int, associated: bytes) -> bytes:
    """The content of a file that is whole."""
    whole, start = path.read_bytes(), len(kind) + 1
    if not whole.startswith(kind) or len(whole) < start + NUMBER:
        raise ValueError("it has another format")
    check_version(path, whole[len(kind)], version)
    if whole[-NUMBER:] != checksum(whole[:-NUMBER], associated):
        raise ValueError("the checksum does not fit")
    return whole[start:-NUMBER]
