"""A network that is made to be trained fast: whitened patches, few layers, starts as identities.

Jordan 2024, "94% on CIFAR-10 in 3.29 seconds on a single GPU", sections 3.1 to 3.3.
"""

from __future__ import annotations

from torch import Tensor, nn

from labsupport.core.errors import LabError
from labsupport.models.cnn import Shape

KERNEL = 2  # of the first layer


class Multiplied(nn.Module):
    """Its input times a number."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """A tensor of the same shape."""
        return x * self.factor


def airbench(input_shape: Shape, classes: int = 10, *, width: int = 32) -> nn.Sequential:
    """2x2 patches, three groups of two convolutions with width times 1, 4, 4 filters, one linear.

    Its first layer, "0", has two filters for each number of a patch, for `whitened` to set; the
    others begin as identities as far as their input's maps reach, norms only shift, and the logits
    are a ninth of what the linear layer gives. The original has `width=64`, and GELUs in place of
    ReLUs: on a CPU they made a step of training 1.4 times as long.

    Raises LabError for a width below 1.
    """
    if width < 1:
        raise LabError(f"airbench of width {width}", "give 1 or more")
    patch = input_shape[0] * KERNEL**2
    first = nn.Conv2d(input_shape[0], 2 * patch, KERNEL)
    groups = (*_group(2 * patch, width), *_group(width, 4 * width), *_group(4 * width, 4 * width))
    head = nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(4 * width, classes, bias=False)
    return nn.Sequential(first, nn.ReLU(), *groups, *head, Multiplied(1 / 9))


def _group(channels: int, filters: int) -> tuple[nn.Module, ...]:
    halved = _identity(channels, filters), nn.MaxPool2d(2), _shift(filters), nn.ReLU()
    return *halved, _identity(filters, filters), _shift(filters), nn.ReLU()


def _identity(channels: int, filters: int) -> nn.Conv2d:
    """A padded 3x3 convolution whose first filters pass their maps on."""
    convolution = nn.Conv2d(channels, filters, 3, padding=1, bias=False)
    passed = min(channels, filters)
    nn.init.dirac_(convolution.weight.data[:passed])
    return convolution


def _shift(filters: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(filters, momentum=0.4)
    norm.weight.requires_grad_(False)
    return norm
