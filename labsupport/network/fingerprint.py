"""A network's fingerprint: the same for equal networks, another for any other."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from torch import nn

from labsupport.core.tensors import components, raw_bytes
from labsupport.network.structure import take_apart


def fingerprint(network: nn.Module) -> str:
    """Sixteen hexadecimal digits that change with a network's structure or any value in it.

    Modes, gradients, which weights are frozen, how tensors lie in memory, and in which order a
    layer has got its parameters make no difference.
    """
    structure = take_apart(network)
    digest = hashlib.sha256(json.dumps(_ordered(structure.modules)).encode())
    for name, tensor in sorted(structure.tensors.items()):
        for part, values in components(name, tensor).items():
            digest.update(f"{part} {values.dtype} {tuple(tensor.shape)}".encode())
            digest.update(raw_bytes(values))
    return digest.hexdigest()[:16]


def _ordered(modules: Mapping[str, Any]) -> dict[str, Any]:
    """Modules as they are, but the parameters of each by name; the order of children matters."""
    return {
        name: module | {"parameters": sorted(module.get("parameters", {}).items())}
        for name, module in modules.items()
    }
