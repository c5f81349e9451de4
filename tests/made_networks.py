"""Small networks to count, and the largest kinds of work by hand."""

from itertools import chain, pairwise

import torch
from torch import Tensor, nn


def mlp(*widths: int) -> nn.Sequential:
    blocks = [(nn.Linear(i, o), nn.ReLU()) for i, o in pairwise(widths)]
    return nn.Sequential(nn.Flatten(), *list(chain.from_iterable(blocks))[:-1])


def mixed() -> nn.Sequential:
    """Groups, stride, dilation, normalization, pooling, a nested container; for (4, 9, 9)."""
    return nn.Sequential(
        nn.Conv2d(4, 8, 3, groups=2, stride=2, padding=1, dilation=2, bias=False),
        nn.BatchNorm2d(8),
        nn.Sequential(nn.ReLU(inplace=True), nn.AvgPool2d(2)),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(),
        nn.Linear(8, 3),
    )


class Twice(nn.Module):
    """One layer, applied twice."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.layer(x))


class Residual(nn.Module):
    def __init__(self, inside: nn.Module) -> None:
        super().__init__()
        self.inside = inside

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inside(x)


class Calls(nn.Module):
    """A module without parameters that computes a function."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class OneHead(nn.Module):
    """Attention of one head, from its equations."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        scores = torch.einsum("nsd,ntd->nst", self.q(x), self.k(x)) / x.shape[-1] ** 0.5
        return self.out(torch.einsum("nst,ntd->nsd", scores.softmax(-1), self.v(x)))
