"""Floats to packed signs."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from labsupport.core.errors import LabError
from labsupport.network.cost import Cost
from labsupport.runtimes.packed.prepared import Prepared
from labsupport.runtimes.packed.words import dense, pack_maps, rows_of_words, undense


def check_floats(name: str, x: Tensor, channels: int, dims: tuple[int, ...]) -> None:
    """Raises LabError for inputs of a layer of other shapes, types or devices than its own."""
    fits = x.dim() in dims and x.shape[1] == channels
    if not fits or x.dtype != torch.float32 or x.device.type != "cpu":
        problem = f"layer {name} gets {tuple(x.shape)} of {x.dtype} on {x.device}"
        wanted = " or ".join(f"(images, {channels}{', H, W' if d == 4 else ''})" for d in dims)
        raise LabError(problem, f"give {wanted} of float32 on the CPU")


class Pack(Prepared):
    """Maps (N, C, H, W) or rows (N, C) as words of bits, int64 (N, H, W, K) or (N, K).

    A bit is one where a float is >= 0; or at least the limit of its channel, and then turned round
    where `flips` (C,) says so.
    """

    limits: Tensor | None
    flips: Tensor | None
    made = ("least", "turned")

    def __init__(
        self, name: str, channels: int, limits: Tensor | None = None, flips: Tensor | None = None
    ) -> None:
        super().__init__()
        self.name, self.channels = name, channels
        self.register_buffer("limits", limits)
        self.register_buffer("flips", None if flips is None else dense(torch.where(flips, 1, -1)))
        self.prepare()

    def prepare(self) -> None:
        """Limits and flips as the kernel reads them."""
        none = torch.zeros(self.channels)
        self.least = (none if self.limits is None else self.limits).numpy().copy()
        shape = (self.channels,)
        flips = np.zeros(shape, bool) if self.flips is None else undense(self.flips, shape)
        self.turned = torch.from_numpy(rows_of_words(flips).copy())

    def forward(self, x: Tensor) -> Tensor:
        """The words. Raises LabError as `check_floats` does."""
        check_floats(self.name, x, self.channels, dims=(2, 4))
        words = pack_maps(x.detach() if x.requires_grad else x, self.least)
        return words if self.flips is None else words.bitwise_xor_(self.turned)

    def forward_cost(self, _x: Tensor, _output: Tensor) -> Cost:
        """Nothing is multiplied or added."""
        return Cost()

    def extra_repr(self) -> str:
        """What `print` shows."""
        return f"{self.name}, {self.channels}"
