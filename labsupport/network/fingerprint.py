"""A network's fingerprint: the same for equal networks, another for any other."""

from __future__ import annotations

import hashlib
import json

from torch import nn

from labsupport.core.tensors import components, raw_bytes
from labsupport.network.structure import take_apart


def fingerprint(network: nn.Module) -> str:
    """Sixteen hexadecimal digits that change with a network's structure or any value in it.

    Modes, gradients, which weights are frozen, and how tensors lie in memory make no difference.
    """
    structure = take_apart(network)
    digest = hashlib.sha256(json.dumps(structure.modules).encode())
    for name, tensor in structure.tensors.items():
        for part, values in components(name, tensor).items():
            digest.update(f"{part} {values.dtype} {tuple(tensor.shape)}".encode())
            digest.update(raw_bytes(values))
    return digest.hexdigest()[:16]
