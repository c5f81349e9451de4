"""Small images of three classes, networks for them, and rules by chance."""

import torch
from torch import nn

from labsupport.data import Split
from labsupport.methods.early_exit.rules import Origin, Rules
from labsupport.network.fingerprint import fingerprint


class Doubled(nn.Sequential):
    """A forward of its own: its layers in a row give something else."""

    def forward(self, x):
        return 2 * super().forward(x)


class Named(nn.Sequential):
    """Layers in a row, but another way to make them."""

    def __init__(self, width):
        super().__init__(nn.Linear(3, width), nn.Linear(width, 2))


def toy_images(n, seed):
    """8 x 8 images with a bright bar whose height says the class."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(3, (n,), generator=generator)
    x = torch.randn(n, 1, 8, 8, generator=generator) * 0.7
    rows = torch.arange(8)
    bar = (rows >= 1 + 2 * y[:, None]) & (rows <= 2 + 2 * y[:, None])
    return Split(x + 1.5 * bar[:, None, :, None], y)


def toy_network(seed=0):
    """Features after layer 2: 4 x 6 x 6; after layer 4: 36 in a row."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(36, 12),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(12, 3),
    )


def shape_after(model, layer, input_shape=(1, 8, 8)):
    dtype = next(model.parameters()).dtype
    return tuple(model[:layer](torch.zeros(1, *input_shape, dtype=dtype)).shape[1:])


def rules_by_chance(model, layer, input_shape=(1, 8, 8), classes=3, seed=0):
    """Rules of this network's features that fit nothing, but are sure of some images."""
    shape = shape_after(model, layer, input_shape)
    features = torch.Size(shape).numel()
    generator = torch.Generator().manual_seed(seed)
    dtype = next(model.parameters()).dtype
    weight = torch.randn(classes, features, generator=generator, dtype=dtype)
    bias = torch.randn(classes, generator=generator, dtype=dtype)
    weight = 6 * (weight - weight.mean(1, keepdim=True)) / features**0.5
    return Rules(weight, bias, Origin(layer, shape, fingerprint(model)))


def snapshot(model):
    """All that a method must leave as it is: tensors, gradients and modes."""
    tensors = [t.detach().clone() for t in model.state_dict().values()]
    gradients = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    flags = [p.requires_grad for p in model.parameters()]
    return tensors, gradients, flags, [module.training for module in model.modules()]


def same(before, after):
    (tensors, gradients, *rest), (tensors_after, gradients_after, *rest_after) = before, after
    pairs = zip(gradients, gradients_after, strict=True)
    return (
        all(torch.equal(a, b) for a, b in zip(tensors, tensors_after, strict=True))
        and all(a is b is None or torch.equal(a, b) for a, b in pairs)
        and rest == rest_after
    )


def used(model):
    """The network as a reader may bring it: with gradients, and modes that differ by module."""
    model.train()
    model[4].eval()
    model(torch.ones(2, 1, 8, 8)).sum().backward()
    model[0].bias.requires_grad_(False)
    return model
