"""Convolutions that compute only what their masks need, so that saved MACs are saved time.

For each filter the positions that its mask computes come first, then, patch by patch, the others,
where one of the first is not zero. A position is a sum along rows of channels, which fill the
vector registers whatever the mask; four positions share each weight that is read.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from labsupport.core.errors import LabError
from labsupport.methods.spatial import Mask, decode, encode, everything
from labsupport.methods.spatial.masks import Granularity, Ofmap
from labsupport.network.cost import Cost
from labsupport.runtimes.masked_kernel import masked_map

Pair = tuple[int, int]


class MaskedConvolution(nn.Module):
    """A convolution, its bias, a ReLU, and a mask that saves work, in one module; for inference.

    It gives what the convolution, a ReLU and a `SpatialLayer` give together, for images of the
    shape (C, H, W) that it is made for, image by image, on one thread of the CPU. Raises LabError
    as `Mask.check` does, and for a weight that reads another number of channels, as in groups.
    """

    conditional = True
    weight: Tensor
    bias: Tensor
    starts: Tensor
    tables: Tensor
    ends: Tensor
    table_of: Tensor
    codes: Tensor

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        stride: Pair,
        padding: Pair,
        mask: Mask,
        image: tuple[int, int, int],
        name: str = "the convolution",
    ) -> None:
        super().__init__()
        if weight.dim() != 4 or weight.shape[1] != image[0]:
            problem = f"{name} has weights {tuple(weight.shape)} for {image[0]} channels"
            raise LabError(problem, "give (filters, channels, height, width), without groups")
        self.name, self.image, self.padding, self.p = name, image, padding, mask.p
        self.has_bias = bias is not None
        self.adds = False  # whether it gets another map to add
        self.ofmap: Ofmap = (len(weight), *_sides(weight, stride, padding, image))
        mask.check(self.ofmap, name)
        bias = weight.new_zeros(len(weight)) if bias is None else bias
        self.register_buffer("bias", bias.detach().clone()[:, None, None])
        rows = weight.detach().permute(0, 2, 3, 1).flatten(2)
        self.register_buffer("weight", rows.clone(memory_format=torch.contiguous_format))
        _, height, width = self.ofmap
        row = image[0] * (image[2] + 2 * padding[1])
        corners = torch.cartesian_prod(
            torch.arange(height) * stride[0] * row, torch.arange(width) * stride[1] * image[0]
        )
        starts = corners.sum(1, keepdim=True) + torch.arange(weight.shape[2]) * row
        self.register_buffer("starts", starts)
        codes = mask.codes.expand(Granularity.PATCH.shape(self.ofmap, self.p))
        self.register_buffer("codes", codes.contiguous())
        different, table_of = torch.unique(codes.flatten(1), dim=0, return_inverse=True)
        self.register_buffer("table_of", table_of)
        tables, ends = _tables(different, _places(height, width, self.p), self.p)
        self.register_buffer("tables", tables)
        self.register_buffer("ends", ends)

    @torch.no_grad()
    def forward(self, x: Tensor, added: Tensor | None = None) -> Tensor:
        """Maps (N, filters, H, W) of images (N, C, H, W); `added` is, before the ReLU.

        Raises LabError for images of another shape, and on another device than the processor.
        """
        if x.device.type != "cpu":
            raise LabError(f"{self.name} gets images on {x.device}", "move them to the CPU")
        if x.shape[1:] != self.image:
            problem = f"{self.name} gets images of {tuple(x.shape[1:])}, not {self.image}"
            raise LabError(problem, "give images of the shape that the kernel was made for")
        down, right = self.padding
        pixels = pad(x, (right, right, down, down)).permute(0, 2, 3, 1).contiguous().flatten(1)
        out = x.new_empty(len(x), *self.ofmap)
        out[:] = self.bias if added is None else self.bias + added
        tables = [table.numpy() for table in (self.tables, self.ends, self.table_of)]
        weight, starts = self.weight.numpy(), self.starts.numpy()
        for image, maps in zip(pixels.numpy(), out.flatten(2).numpy(), strict=True):
            masked_map(image, weight, starts, *tables, maps)
        return out

    def forward_cost(self, x: Tensor, output: Tensor) -> Cost:
        """MACs, biases and sums of the positions that are computed."""
        lives = encode(output, self.p) & self.codes != 0
        codes = torch.where(lives, everything(self.p), self.codes)
        _, height, width = self.ofmap
        computed = int(decode(codes, self.p)[..., :height, :width].sum())
        sums = self.has_bias + self.adds
        return Cost(computed * self.weight[0].numel(), additions=computed * sums)

    def extra_repr(self) -> str:
        """What `print` shows."""
        return f"{self.name}, {self.p} x {self.p}"


def masked_conv(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair, mask: Mask
) -> Tensor:
    """ReLU of a convolution of images (N, C, H, W), with the zeros that a mask predicts.

    To call it often, make a `MaskedConvolution`, which prepares once what it needs. Raises LabError
    as that does.
    """
    channels, height, width = x.shape[1:]
    kernel = MaskedConvolution(weight, bias, stride, padding, mask, (channels, height, width))
    return kernel.forward(x)


def _sides(weight: Tensor, stride: Pair, padding: Pair, image: tuple[int, int, int]) -> Pair:
    """Height and width of the ofmap."""
    height, width = (
        (side + 2 * more - taps) // by + 1
        for side, more, taps, by in zip(image[1:], padding, weight.shape[2:], stride, strict=True)
    )
    return height, width


def _places(height: int, width: int, p: int) -> Tensor:
    """The places in the map of each patch's positions, int64 (patches, p p); -1 in the padding."""
    places = torch.arange(height * width).view(height, width)
    padded = pad(places, (0, -width % p, 0, -height % p), value=-1)
    return padded.unfold(0, p, p).unfold(1, p, p).reshape(-1, p * p)


def _tables(codes: Tensor, places: Tensor, p: int) -> tuple[Tensor, Tensor]:
    """The places of each patch, its ones first, (tables, patches, p p), and where these end.

    `codes` are (tables, patches). The ends (tables, patches, 2) are numbers: of the ones, and of
    all positions that are not padding.
    """
    ones = (codes[..., None] >> torch.arange(p * p)) & 1
    rank = torch.where(places < 0, 2, 1 - ones)  # ones, others, padding
    order = rank.argsort(dim=2, stable=True)
    ends = torch.stack([(rank <= last).sum(2) for last in (0, 1)], 2)
    return places.expand_as(rank).gather(2, order), ends
