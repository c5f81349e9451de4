"""The spatial layer: zeros predicted from their neighbors, and what that saves."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from labsupport.core.errors import LabError
from labsupport.methods.spatial.masks import Mask, Ofmap
from labsupport.network.cost import Cost


class SpatialLayer(nn.Module):
    """Sets to zero, after a ReLU, what a mask predicts to be zero.

    In each patch the positions whose bit is 1 are computed. Where all of them are zero, the others
    are predicted to be zero, and the convolutions need not compute them. Beyond a ragged edge the
    map is padded with zeros: a patch whose ones all lie there is always predicted.

    `convolutions` gives the layers that make the ofmap by their names; several, where their maps
    are added before the ReLU, so that one mask saves in all of them. The layer is called by the
    first one's name. The network computes and counts its convolutions in full; `forward_cost` takes
    off what a kernel would not compute. Raises LabError as `Mask.check` does.
    """

    codes: Tensor
    computed: Tensor  # which positions always are, bool (C, H, W)

    def __init__(self, convolutions: Mapping[str, nn.Conv2d], ofmap: Ofmap, mask: Mask) -> None:
        super().__init__()
        self.names = tuple(convolutions)
        # In a tuple they are not children of this layer: they have their place in the network.
        self.convolutions = tuple(convolutions.values())
        self.ofmap = ofmap
        self.enabled = True
        self.set_mask(mask)

    @property
    def name(self) -> str:
        """The name of the first convolution."""
        return self.names[0]

    @property
    def conditional(self) -> bool:
        """Whether what is saved depends on the image."""
        return self.enabled

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one position in all convolutions that make it."""
        return sum(_inputs_of_a_position(layer) for layer in self.convolutions)

    @property
    def mask(self) -> Mask:
        """The mask as it was set."""
        return Mask(self.p, self.codes.clone())

    def set_mask(self, mask: Mask) -> None:
        """Take another mask. Raises LabError as `Mask.check` does."""
        mask.check(self.ofmap, self.name)
        self.p = mask.p
        codes = mask.codes.to(self.convolutions[0].weight.device, torch.int32, copy=True)
        self.register_buffer("codes", codes)
        height, width = self.ofmap[1:]
        computed = Mask(self.p, codes).full(self.ofmap)[:, :height, :width]
        self.register_buffer("computed", computed, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps of the same shape (N, C, H, W). Raises LabError for another ofmap."""
        return x * self.kept(x) if self.enabled else x

    def kept(self, x: Tensor) -> Tensor:
        """Which elements the mask keeps, bool (N, C, H, W); the others are predicted to be zero.

        Raises LabError for another ofmap.
        """
        if x.shape[1:] != self.ofmap:
            problem = f"{self.name} gives an ofmap of {tuple(x.shape[1:])}, not {self.ofmap}"
            raise LabError(problem, "give images of the size that the masks were made for")
        _, height, width = self.ofmap
        lives = self._lives(x)
        side_by_side = lives[..., :, None, :, None].expand(*lives.shape[:-1], self.p, -1, self.p)
        spread = side_by_side.reshape(len(x), -1, self.p * lives.shape[2], self.p * lives.shape[3])
        return self.computed | spread[..., :height, :width]

    def _lives(self, x: Tensor) -> Tensor:
        """Which patches have a computed position that is not zero, bool (N, C, rows, columns).

        By strides, which is three times as fast as pooling.
        """
        return _any((_any(((x != 0) & self.computed).mT, self.p)).mT, self.p)

    def forward_cost(self, x: Tensor, output: Tensor) -> Cost:
        """What the convolutions need not compute, with a minus sign: MACs and their biases."""
        if not self.enabled:
            return Cost()
        others = (~self.computed).to(x.dtype)[None]
        of_patches = avg_pool2d(others, self.p, ceil_mode=True, divisor_override=1)
        predicted = int((of_patches[0].long() * (~self._lives(x)).sum(0)).sum())
        biases = sum(layer.bias is not None for layer in self.convolutions)
        return Cost(fp_macs=-predicted * self.macs, additions=-predicted * biases)

    def extra_repr(self) -> str:
        """What `print` shows."""
        granularity = self.mask.granularity(self.ofmap)
        per = granularity.name.lower() if granularity else "?"
        state = "" if self.enabled else ", disabled"
        return f"{' + '.join(self.names)}, {self.p} x {self.p} per {per}{state}"


def _any(maps: Tensor, p: int) -> Tensor:
    """Whether any of p columns side by side is true, (..., columns / p); the last may be fewer."""
    found = maps[..., ::p].clone()
    for start in range(1, p):
        part = maps[..., start::p]
        found[..., : part.shape[-1]] |= part
    return found


def _inputs_of_a_position(layer: nn.Conv2d) -> int:
    return layer.in_channels // layer.groups * math.prod(layer.kernel_size)
