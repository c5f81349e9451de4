"""Learning-rate schedules as values of a recipe; each knows how many steps there will be."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from labsupport.core.errors import LabError

# Of an optimizer and the number of steps of the whole training; None keeps the rate constant.
ScheduleFactory = Callable[[Optimizer, int], LRScheduler | None]


@dataclass(frozen=True)
class OneCycle:
    """Up to the recipe's rate in the first `pct_start` of the steps, then down to nearly zero.

    Smith and Topin 2018. A parameter group with a rate of its own peaks at that rate.
    """

    pct_start: float = 0.3

    def __call__(self, optimizer: Optimizer, steps: int) -> OneCycleLR:
        """The scheduler of an optimizer, called after each of the steps."""
        peaks = [group["lr"] for group in optimizer.param_groups]
        return OneCycleLR(
            optimizer, max_lr=peaks, total_steps=max(steps, 2), pct_start=self.pct_start
        )


@dataclass(frozen=True)
class Triangular:
    """In straight lines from a share of the recipe's rate up to all of it, then down to a share.

    The schedule of Jordan 2024, "94% on CIFAR-10 in 3.29 seconds on a single GPU". It leaves the
    optimizer's momentum as it is, while OneCycle moves it.
    """

    peak: float = 0.23
    start: float = 0.2
    end: float = 0.07

    def __call__(self, optimizer: Optimizer, steps: int) -> LambdaLR:
        """The scheduler of an optimizer, called after each of the steps."""
        places, shares = (0, self.peak * steps, steps), (self.start, 1.0, self.end)
        return LambdaLR(optimizer, lambda step: float(np.interp(step, places, shares)))


@dataclass(frozen=True)
class Constant:
    """The recipe's rate throughout."""

    def __call__(self, optimizer: Optimizer, steps: int) -> None:
        """No scheduler: the optimizer keeps its rate."""


@dataclass(frozen=True)
class Cyclic:
    """A cosine from the recipe's rate to zero, started anew `cycles` times.

    Where the steps do not divide evenly, some cycles are a step longer than others. The network at
    the end of a cycle is one of a snapshot ensemble (Huang et al. 2017, equation 2; the restarts
    are those of Loshchilov and Hutter 2017): see `Snapshots`.
    Raises LabError for less than one cycle, or, when called, for fewer steps than cycles.
    """

    cycles: int

    def __post_init__(self) -> None:
        if self.cycles < 1:
            raise LabError(f"{self.cycles} cycles", "give at least one")

    def __call__(self, optimizer: Optimizer, steps: int) -> LambdaLR:
        """The scheduler of an optimizer, called after each of the steps."""
        lengths = [end - start for start, end in pairwise((0, *self.ends(steps)))]
        shares = [step / length for length in lengths for step in range(length)]
        factors = [(math.cos(math.pi * share) + 1) / 2 for share in shares]
        return LambdaLR(optimizer, lambda step: factors[step] if step < steps else 0.0)

    def ends(self, steps: int) -> tuple[int, ...]:
        """The number of the last step of each cycle, counted from 1."""
        if steps < self.cycles:
            raise LabError(f"{self.cycles} cycles in {steps} steps", "train longer")
        return tuple(steps * cycle // self.cycles for cycle in range(1, self.cycles + 1))
