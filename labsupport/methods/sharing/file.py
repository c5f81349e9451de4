"""A network of shared weights as one small file (Han et al. 2016, "Deep compression").

The file is: 4 bytes that name the format, its version in one, the length of the header in four, the
header (JSON, deflated: the architecture, type and shape of every tensor, bytes of the streams),
three streams of bits (tables, codes, indices of all layers, each filled up to a whole byte), the
values of all other tensors as they are in memory, codebooks first, and a checksum of 4 bytes.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from labsupport.core.errors import LabError
from labsupport.core.tensors import raw_bytes
from labsupport.methods.sharing import container
from labsupport.methods.sharing.bits import BitReader
from labsupport.methods.sharing.layer_code import LayerCode, decode_layer, encode_layer
from labsupport.methods.sharing.shared import shared_layers
from labsupport.network.parts import from_parts, to_parts

FORMAT, VERSION = b"LSDC", 1
NUMBER = 4  # bytes of the header's length
STREAMS = ("tables", "codes", "indices")


def compress(network: nn.Module, path: Path | str) -> pd.Series[int]:
    """Write a network whose layers share weights as one file, and give its bytes by part.

    Parts: header (with format and checksum), tables, codes, indices, codebooks, others (biases, and
    all that shares no weights); they add up to the file's size. A mask above shared weights is one
    of the others: share them again to be rid of it. Raises LabError for a network without shared
    layers, and as `storage.save` does.
    """
    sections = _sections(network)
    sizes = pd.Series({part: len(section) for part, section in sections.items()}, name="bytes")
    sizes["header"] += container.write(path, FORMAT, VERSION, b"".join(sections.values()))
    return sizes


def decompress(path: Path | str) -> nn.Module:
    """The network that `compress` wrote, equal to the last bit, in eval mode.

    No code of the file runs, and torch's random state stays as it was. Raises LabError for a file
    that is missing, damaged, of another kind or of a newer version.
    """
    return container.read(path, FORMAT, VERSION, _network)


def _sections(network: nn.Module) -> dict[str, bytes]:
    """The content of a file, in order."""
    parts, description = to_parts(network)
    shared = shared_layers(network)
    if not shared:
        problem = f"no layer of this {type(network).__name__} shares weights"
        raise LabError(problem, "share them first: sharing.share(network, bits)")
    behind = {f"{name}.parametrizations.weight".lstrip("."): of for name, of in shared.items()}
    coded = {f"{place}.0.codes": of.centroids + 1 for place, of in behind.items()}
    books = [name for place in behind if (name := f"{place}.original") in parts]
    others = [name for name in parts if name not in coded and name not in books]
    layers = [encode_layer(_row(parts[name]), alphabet) for name, alphabet in coded.items()]
    streams = {kind: _packed(layers, kind) for kind in STREAMS}
    header = description | {
        "streams": [len(stream) for stream in streams.values()],
        "coded": [[name, list(parts[name].shape), coded[name]] for name in coded],
        "plain": [[name, *_kind(parts[name])] for name in [*books, *others]],
    }
    return {
        "header": _header(header),
        **streams,
        "codebooks": _values(parts, books),
        "others": _values(parts, others),
    }


def _header(header: Mapping[str, Any]) -> bytes:
    text = zlib.compress(json.dumps(header, separators=(",", ":")).encode(), 9)
    return len(text).to_bytes(NUMBER, "big") + text


def _packed(layers: list[LayerCode], kind: str) -> bytes:
    return np.packbits(np.concatenate([getattr(layer, kind) for layer in layers])).tobytes()


def _values(parts: Mapping[str, Tensor], names: list[str]) -> bytes:
    return b"".join(raw_bytes(parts[name]) for name in names)


def _row(codes: Tensor) -> np.ndarray[Any, np.dtype[np.int64]]:
    return codes.cpu().flatten().long().numpy()


def _kind(tensor: Tensor) -> tuple[str, list[int]]:
    return str(tensor.dtype).removeprefix("torch."), list(tensor.shape)


def _network(content: bytes) -> nn.Module:
    """The network that the content of a file makes."""
    end = NUMBER + int.from_bytes(content[:NUMBER], "big")
    header = json.loads(zlib.decompress(content[NUMBER:end]))
    return from_parts(_tensors(header, content[end:]), header)


def _tensors(header: Mapping[str, Any], body: bytes) -> dict[str, Tensor]:
    readers, at = [], 0
    for size in header["streams"]:
        readers.append(BitReader(body[at : at + size]))
        at += size
    tables, codes, indices = readers
    tensors = {}
    for name, shape, alphabet in header["coded"]:
        row = decode_layer(tables, codes, indices, math.prod(shape), alphabet)
        tensors[name] = torch.from_numpy(row.astype(np.int16)).reshape(shape)
    for name, kind, shape in header["plain"]:
        dtype = getattr(torch, kind)
        size = math.prod(shape) * dtype.itemsize
        tensors[name] = container.as_tensor(body[at : at + size], dtype, shape)
        at += size
    if at != len(body):
        raise ValueError("it is longer than its header says")
    return tensors
