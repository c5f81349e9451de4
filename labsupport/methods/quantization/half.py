"""Networks in floats of 16 bits, between images and logits of 32."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from labsupport.core.errors import LabError

HALVES = (torch.float16, torch.bfloat16)


class InHalf(nn.Module):
    """A network in floats of 16 bits that takes and gives floats of 32."""

    def __init__(self, network: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.network, self.dtype = network.to(dtype), dtype

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, C, H, W) to logits (N, classes)."""
        logits: Tensor = self.network(x.to(self.dtype))
        return logits.float()


def in_half(network: nn.Module, dtype: torch.dtype) -> InHalf:
    """A copy in torch.float16 or torch.bfloat16: weights, inputs and sums between layers.

    Half the bytes; faster only where the processor multiplies such floats. Raises LabError for
    another type, for a network that is sparse or has 16 bits somewhere, and for one with weights
    above what the type holds.
    """
    if dtype not in HALVES:
        raise LabError(f"{dtype!r} has no 16 bits", "give torch.float16 or torch.bfloat16")
    before = network.state_dict()
    for name, tensor in before.items():
        _check(name, tensor)
    half = InHalf(copy.deepcopy(network), dtype)
    for name, tensor in half.network.state_dict().items():
        if bool((before[name].isfinite() & ~tensor.isfinite()).any()):
            problem = f"{name} has numbers that {dtype} does not hold"
            raise LabError(problem, "take torch.bfloat16, or look at how it was trained")
    return half


def _check(name: str, tensor: Tensor) -> None:
    if tensor.layout != torch.strided:
        raise LabError(f"{name} is sparse", "give the network without sparse layers")
    if tensor.dtype in HALVES:
        raise LabError(f"{name} has 16 bits already", "give the network that it was made of")
