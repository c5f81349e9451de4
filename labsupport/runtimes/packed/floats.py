"""Layers with packed weights among floats: those with real inputs, and those scaled by K."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from labsupport.methods.binary import BinaryConv2d, BinaryLayer
from labsupport.network.cost import Cost
from labsupport.runtimes.packed.layers import window_of
from labsupport.runtimes.packed.packing import Pack, check_floats
from labsupport.runtimes.packed.prepared import Prepared
from labsupport.runtimes.packed.sums import FloatsFromBits
from labsupport.runtimes.packed.words import dense, undense


class RealInputs(Prepared):
    """Binary weights and real inputs: a bit for each weight in the file, floats once it runs.

    Torch multiplies, as a processor has nothing that is faster for signs times floats.
    """

    bits: Tensor
    factors: Tensor
    bias: Tensor | None
    made = ("signs",)

    def __init__(self, layer: BinaryLayer) -> None:
        super().__init__()
        self.name, self.shape = layer.name, tuple(layer.weight.shape)
        self.window = window_of(layer) if isinstance(layer, BinaryConv2d) else None
        self.register_buffer("bits", dense(layer.weight))
        self.register_buffer("factors", layer.by_filter(layer.alpha.detach().clone()))
        bias = None if layer.bias is None else layer.by_filter(layer.bias.detach().clone())
        self.register_buffer("bias", bias)
        self.prepare()

    def prepare(self) -> None:
        """Make floats of the bits."""
        ones = torch.from_numpy(undense(self.bits, self.shape))
        self.signs = torch.where(ones, 1.0, -1.0)

    def forward(self, x: Tensor) -> Tensor:
        """What the binary layer gives. Raises LabError as `check_floats` does."""
        check_floats(self.name, x, self.shape[1], dims=(len(self.shape),))
        if self.window is None:
            out = F.linear(x, self.signs)
        else:
            padded = F.pad(x, self.window.pads)
            out = F.conv2d(padded, self.signs, None, self.window.stride, 0, self.window.dilation)
        out = out * self.factors
        return out if self.bias is None else out + self.bias

    def forward_cost(self, _x: Tensor, output: Tensor) -> Cost:
        """Additions, as of the binary layer."""
        biases = 0 if self.bias is None else output.numel()
        return Cost(additions=output.numel() * self.signs[0].numel() + biases)


class Scaled(nn.Module):
    """A product of signs times K, the mean |x| of what a filter sees: floats to floats."""

    def __init__(self, layer: BinaryLayer) -> None:
        super().__init__()
        self.pack = Pack(layer.name, layer.weight.shape[1])
        self.product = FloatsFromBits(layer)
        bias = None if layer.bias is None else layer.by_filter(layer.bias.detach().clone())
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)
        self.product.bias = None
        self.product.prepare()

    def forward(self, x: Tensor) -> Tensor:
        """What the binary layer gives. Raises LabError as a `Pack` does."""
        out: Tensor = self.product(self.pack(x)) * self.input_scale(x)
        return out if self.bias is None else out + self.bias

    def input_scale(self, x: Tensor) -> Tensor:
        """K in a shape that fits the output."""
        means, window = x.abs().mean(1, keepdim=True), self.product.window
        if window is None:
            return means
        box = x.new_full((1, 1, *window.taps), 1 / (window.taps[0] * window.taps[1]))
        return F.conv2d(F.pad(means, window.pads), box, None, window.stride, 0, window.dilation)
