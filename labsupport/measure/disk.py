"""How many bytes a network takes on disk."""

from __future__ import annotations

import safetensors.torch
import torch
from torch import Tensor, nn


def disk_bytes(model: nn.Module) -> int:
    """Bytes of the model's state as a safetensors file, header included.

    A tensor that goes by several names is stored once.
    """
    state: dict[tuple[int, torch.Size, tuple[int, ...]], tuple[str, Tensor]] = {}
    for name, tensor in model.state_dict().items():
        state.setdefault((tensor.data_ptr(), tensor.shape, tensor.stride()), (name, tensor))
    # Cloned, as safetensors refuses tensors that share memory in part.
    whole = {name: t.clone(memory_format=torch.contiguous_format) for name, t in state.values()}
    return len(safetensors.torch.save(whole))
