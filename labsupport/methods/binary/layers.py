"""Layers that multiply signs of weights by their inputs or by the signs of those."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from labsupport.core.errors import LabError
from labsupport.methods.binary.scales import Held
from labsupport.methods.binary.schemes import Scheme
from labsupport.methods.binary.signs import sign
from labsupport.network.cost import Cost
from labsupport.network.weights import Weights, few_bit_weights


class BinaryLayer(nn.Module):
    """A layer with binary weights, which are the signs of latent ones; these are what is trained.

    It gives (signs of inputs or inputs) x (signs of weights) x alpha (x K) + bias. The first
    product is of whole numbers, so that floats hold it exactly.
    """

    weight: nn.Parameter
    memory: Tensor | None

    def __init__(self, layer: nn.Linear | nn.Conv2d, scheme: Scheme, name: str) -> None:
        super().__init__()
        self.name, self.scheme = name, scheme
        self.weight = _own(layer.weight)
        self.bias = None if layer.bias is None else _own(layer.bias)
        self.register_buffer("memory", scheme.scale.start(self.weight.detach()))

    def forward(self, x: Tensor) -> Tensor:
        """What the layer gives. Raises LabError for an input that does not fit."""
        if x.dim() != self.weight.dim() or x.shape[1] != self.weight.shape[1]:
            problem = f"layer {self.name} gets an input of {tuple(x.shape)}"
            wanted = "(images, features)" if self.weight.dim() == 2 else "(images, channels, H, W)"
            remedy = f"give {wanted}, {self.weight.shape[1]} of them"
            raise LabError(problem, remedy)
        signs = x if self.scheme.window is None else sign(x, self.scheme.window)
        weight_signs = self.scheme.scale.signs(self.weight, self.memory)
        out = self.product(signs, weight_signs) * self.by_filter(self.alpha)
        if self.scheme.scales_inputs:
            out = out * self.input_scale(x)
        return out if self.bias is None else out + self.by_filter(self.bias)

    def product(self, x: Tensor, weight: Tensor) -> Tensor:
        """The layer's own product, without a bias."""
        raise NotImplementedError

    def input_scale(self, x: Tensor) -> Tensor:
        """K, the mean |x| of what a filter sees, in a shape that fits the output."""
        raise NotImplementedError

    @property
    def alpha(self) -> Tensor:
        """The factors of the weights' signs, (filters,)."""
        return self.scheme.scale.alpha(self.weight, self.memory)

    def by_filter(self, values: Tensor) -> Tensor:
        """Values (filters,) in a shape that fits the output."""
        return values.view(-1, *[1] * (self.weight.dim() - 2))

    @torch.no_grad()
    def after_step(self) -> None:
        """Clip the latent weights to [-1, 1], and note the gradient that they were moved by.

        A weight far outside would hardly change its sign again (Courbariaux et al. 2016, section
        1.2).
        """
        if self.weight.grad is not None:
            self.scheme.scale.update(self.memory, self.weight.grad)
            self.weight.clamp_(-1, 1)

    @property
    def is_held(self) -> bool:
        """Whether its signs are floats, and multiplied as such: see `hold_signs`."""
        return isinstance(self.scheme.scale, Held)

    @property
    def weight_count(self) -> int:
        """Weights and biases; alphas follow from the latent weights."""
        return self._weights.count

    @property
    def weight_bits(self) -> float:
        """Mean bits of weights, one for each unless they are held, and biases."""
        return self._weights.bits

    @property
    def _weights(self) -> Weights:
        bits = 8 * self.weight.dtype.itemsize if self.is_held else 1
        return few_bit_weights(self.weight.numel(), bits, [self.bias])

    @property
    def activation_bits(self) -> float:
        """Bits of what the weights multiply."""
        floats = self.scheme.window is None or self.is_held
        return 8.0 * self.weight.dtype.itemsize if floats else 1.0

    def forward_cost(self, _x: Tensor, output: Tensor) -> Cost:
        """A binary operation, or with real inputs an addition, for each weight an output sees.

        Signs that are held take a MAC each, as floats do. K takes one for each position that a
        filter sees, of maps; means over channels are free.
        """
        products = output.numel() * self.weight[0].numel()
        biases = 0 if self.bias is None else output.numel()
        scaled = output.numel() // len(self.weight) * self.weight[0, 0].numel()
        macs = scaled if self.scheme.scales_inputs and self.weight.dim() > 2 else 0
        if self.is_held:
            return Cost(macs + products, additions=biases)
        if self.scheme.window is None:
            return Cost(additions=products + biases)
        return Cost(macs, binary_ops=products, additions=biases)

    def extra_repr(self) -> str:
        """What `print` shows."""
        return f"{self.name}, {self.scheme.name}, {tuple(self.weight.shape)}"


class BinaryLinear(BinaryLayer):
    """A linear layer with binary weights: (N, features) to (N, outputs)."""

    def product(self, x: Tensor, weight: Tensor) -> Tensor:
        """(N, outputs)."""
        return F.linear(x, weight)

    def input_scale(self, x: Tensor) -> Tensor:
        """The mean over features, (N, 1)."""
        return x.abs().mean(1, keepdim=True)


class BinaryConv2d(BinaryLayer):
    """A convolution with binary weights: (N, channels, H, W) to (N, filters, H', W').

    Zero is no binary value: signs are padded with +1, real inputs with zeros. `pads` are the
    positions added at the left, right, top and bottom.
    """

    def __init__(self, layer: nn.Conv2d, scheme: Scheme, name: str) -> None:
        super().__init__(layer, scheme, name)
        self.stride = cast("tuple[int, int]", layer.stride)
        self.dilation = cast("tuple[int, int]", layer.dilation)
        self.pads = cast("list[int]", list(layer._reversed_padding_repeated_twice))

    def product(self, x: Tensor, weight: Tensor) -> Tensor:
        """(N, filters, H', W')."""
        padded = F.pad(x, self.pads, value=0.0 if self.scheme.window is None else 1.0)
        return F.conv2d(padded, weight, None, self.stride, 0, self.dilation)

    def input_scale(self, x: Tensor) -> Tensor:
        """The mean over channels, averaged over each window, (N, 1, H', W'); zeros around it."""
        height, width = self.weight.shape[2:]
        box = x.new_full((1, 1, height, width), 1 / (height * width))
        padded = F.pad(x.abs().mean(1, keepdim=True), self.pads)
        return F.conv2d(padded, box, None, self.stride, 0, self.dilation)


def _own(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor.detach().clone(), requires_grad=tensor.requires_grad)
