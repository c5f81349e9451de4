"""Grids: equally spaced values, few enough for a code of 2 to 8 bits, that numbers are rounded to.

Jacob et al. 2018, "Quantization and training of neural networks for efficient integer-arithmetic-
only inference", section 2.1: a number is `step * (code - zero)`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from labsupport.core.errors import LabError

BITS = range(2, 9)
SHARES = torch.linspace(0.05, 1, 96)  # of the full range, tried when a grid is narrowed


class Grid(nn.Module):
    """Rounds numbers to the nearest of `step * (code - zero)`, codes from `low` to `high`.

    A tensor has one step, or one for each index of its first axis. Gradients go straight through
    the rounding, to numbers inside the range and to the step, which is learned as its logarithm, so
    that it stays above zero (Esser et al. 2020, "Learned step size quantization", equation 3).
    """

    zero: Tensor

    def __init__(self, low: int, high: int, step: Tensor, zero: Tensor) -> None:
        super().__init__()
        self.low, self.high = low, high
        self.log_step = nn.Parameter(step.detach().log())  # as StepGroups finds it
        self.register_buffer("zero", zero.detach().clone())

    @property
    def step(self) -> Tensor:
        """The distance of neighboring values, in the shape that broadcasts to the numbers."""
        return self.log_step.exp()

    @property
    def bits(self) -> int:
        """Bits of a code."""
        return (self.high - self.low).bit_length()

    def forward(self, x: Tensor) -> Tensor:
        """Numbers of any shape to the nearest values of the grid."""
        step = self.step
        steps = (x / step).clamp(self.low - self.zero, self.high - self.zero)
        return round_through(steps) * step

    @torch.no_grad()
    def codes(self, x: Tensor) -> Tensor:
        """The codes of the nearest values, int16."""
        rounded: Tensor = self(x)
        return (rounded / self.step + self.zero).round().to(torch.int16)


def round_through(x: Tensor) -> Tensor:
    """Whole numbers, halves to even ones; the gradient is that of x (Bengio et al. 2013)."""
    return x.round().detach() + (x - x.detach())  # what is added is zero, exactly


def symmetric(weight: Tensor, bits: int) -> Grid:
    """A grid around zero for each index of the first axis, as wide as the largest size there.

    Codes are -(2^(bits-1) - 1) to 2^(bits-1) - 1, and zero stays zero. Raises LabError for bits
    outside 2 to 8, and numbers that are none, not finite or without an axis.
    """
    _check(weight, bits)
    if not weight.dim():
        raise LabError("a number without axes has no channels", "give a tensor of one axis or more")
    high = 2 ** (bits - 1) - 1
    largest = weight.detach().abs().reshape(len(weight), -1).amax(1)
    steps = _positive(largest / high).view(-1, *[1] * (weight.dim() - 1))
    return Grid(-high, high, steps, torch.zeros((), device=weight.device))


def affine(x: Tensor, bits: int) -> Grid:
    """A grid of codes 0 to 2^bits - 1 from the smallest to the largest of some numbers, and zero.

    Zero is a value of the grid, so that padding stays exact: the ends move by up to half a step.
    Raises LabError for bits outside 2 to 8, and numbers that are none or not finite.
    """
    _check(x, bits)
    high = 2**bits - 1
    smallest, largest = x.detach().aminmax()
    smallest = smallest.clamp(max=0)
    step = _positive((largest.clamp(min=0) - smallest) / high)
    return Grid(0, high, step, (-smallest / step).round())


@torch.no_grad()
def narrowed(grid: Grid, x: Tensor) -> Grid:
    """The grid with each step times the share, .05 to 1, that leaves the least squared error of x.

    A few large numbers are cut off where many small ones gain by it.
    """
    shares = SHARES.to(x)
    errors = torch.stack([_errors(_scaled(grid, share), x) for share in shares])
    return _scaled(grid, shares[errors.argmin(0)].view_as(grid.log_step))


def _check(x: Tensor, bits: int) -> None:
    """Raises LabError for bits or numbers that have no grid."""
    check_bits(bits, "a grid")
    if not x.numel() or not x.isfinite().all():
        problem = "a grid for numbers that are none, or not finite"
        raise LabError(problem, "look at where they come from")


def check_bits(bits: int, what: str) -> None:
    """Raises LabError for bits outside 2 to 8, or that are no whole number."""
    if type(bits) is not int or bits not in BITS:
        remedy = f"give a whole number, {BITS[0]} to {BITS[-1]}"
        raise LabError(f"{bits!r} bits for {what}", remedy)


def _scaled(grid: Grid, share: Tensor) -> Grid:
    return Grid(grid.low, grid.high, grid.step * share, grid.zero)


def _errors(grid: Grid, x: Tensor) -> Tensor:
    """The squared error that belongs to each step, in a row; to one step, a number."""
    rounded: Tensor = grid(x)
    squares = (rounded - x).square()
    return squares.reshape(len(squares), -1).sum(1) if grid.log_step.dim() else squares.sum()


def _positive(step: Tensor) -> Tensor:
    """Steps above zero, with all their digits: numbers that are all zero, or hardly more, have any.

    Below the least normal number, about 1e-38, a float has fewer and fewer digits.
    """
    return torch.where(step >= torch.finfo(step.dtype).tiny, step, torch.ones_like(step))
