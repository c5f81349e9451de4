"""Layers as later labs make them: integers of 8 bits, packed bits."""

import torch
from torch import nn

from labsupport.network.operators import Cost


class Int8Linear(nn.Module):
    """Weights and inputs rounded to integers of 8 bits, which are multiplied as such."""

    activation_bits = 8.0

    def __init__(self, layer):
        super().__init__()
        self.scale = layer.weight.abs().max().item() / 127
        self.register_buffer("weight", (layer.weight.detach() / self.scale).round().char())
        self.register_buffer("bias", layer.bias.detach().clone())

    @property
    def weight_count(self):
        return self.weight.numel() + self.bias.numel()

    @property
    def weight_bits(self):
        return (8 * self.weight.numel() + 32 * self.bias.numel()) / self.weight_count

    def forward(self, x):
        step = x.abs().amax(1, keepdim=True).clamp_min(1e-12) / 127
        products = (x / step).round() @ self.weight.float().T  # whole numbers, exact in floats
        return products * step * self.scale + self.bias

    def forward_cost(self, x, output):
        return Cost(int8_macs=len(x) * self.weight.numel(), additions=output.numel())


class PackedLinear(nn.Module):
    """Signs of weights, eight in a byte, times signs of inputs."""

    weight_bits = activation_bits = 1.0

    def __init__(self, layer):
        super().__init__()
        signs = (layer.weight.detach() >= 0).to(torch.uint8)
        self.outputs, self.inputs = signs.shape
        padded = nn.functional.pad(signs, (0, -self.inputs % 8)).view(self.outputs, -1, 8)
        self.register_buffer("bits", (padded * 2 ** torch.arange(8)).sum(2).to(torch.uint8))

    @property
    def weight_count(self):
        return self.outputs * self.inputs

    def forward(self, x):
        unpacked = self.bits[:, :, None].bitwise_and(2 ** torch.arange(8)).ne(0).flatten(1)
        signs = torch.where(unpacked[:, : self.inputs], 1.0, -1.0)
        return torch.where(x >= 0, 1.0, -1.0) @ signs.T

    def forward_cost(self, x, output):
        return Cost(binary_ops=len(x) * self.weight_count)


def with_last_layer(model, make):
    """A copy in eval mode whose last linear layer is what `make` makes of it."""
    import copy

    made = copy.deepcopy(model).eval()
    name = [name for name, module in made.named_modules() if isinstance(module, nn.Linear)][-1]
    parent, _, child = name.rpartition(".")
    setattr(made.get_submodule(parent), child, make(made.get_submodule(name)))
    return made
