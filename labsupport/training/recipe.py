"""All that determines a training run besides network, data, objective and seed."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import torch

from labsupport.core.errors import LabError
from labsupport.data import Batch
from labsupport.training.augmentation import Augmentation
from labsupport.training.objectives import CrossEntropy
from labsupport.training.optimizers import AdamW, OptimizerFactory
from labsupport.training.schedules import OneCycle, ScheduleFactory

KEEP = ("best", "last")


@dataclass(frozen=True)
class Recipe:
    """How long, on what batches, how fast and with what a network is trained.

    `lr` is the rate of the constant schedule and the highest of the others. `optimizer` and
    `schedule` are factories: any callables like those of `optimizers` and `schedules`, as are those
    of `augmentation`, which change each training batch in turn. `label_smoothing` belongs to the
    usual objective. `channels_last` trains with the channels innermost in memory, which is often
    faster for convolutions; the result is in torch's usual layout. `keep` says which epoch's
    weights are kept: those of the best score on validation images, or the last ones.
    Raises LabError for a value out of range.
    """

    epochs: int = 5
    batch_size: int = 256
    lr: float = 2e-3
    weight_decay: float = 0.01
    optimizer: OptimizerFactory = field(default_factory=AdamW)
    schedule: ScheduleFactory = field(default_factory=OneCycle)
    augmentation: tuple[Augmentation, ...] = ()
    label_smoothing: float = 0.0
    channels_last: bool = False
    keep: Literal["best", "last"] = "best"

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 2:
            problem = f"{self.epochs} epochs in batches of {self.batch_size}"
            raise LabError(problem, "train at least one epoch, in batches of two or more")
        if not 0 < self.lr < math.inf or not self.weight_decay >= 0:
            problem = f"a learning rate of {self.lr} with weight decay {self.weight_decay}"
            raise LabError(problem, "the rate must be above 0, the decay at least 0")
        if self.keep not in KEEP:
            raise LabError(f"cannot keep the {self.keep!r} epoch", f"choose one of {KEEP}")
        self._check_ingredients()
        CrossEntropy(self.label_smoothing)

    def _check_ingredients(self) -> None:
        for ingredient in (self.optimizer, self.schedule, *self.augmentation):
            if not callable(ingredient):
                remedy = "give callables: schedule=Constant(), augmentation=(Flip(),)"
                raise LabError(f"{ingredient!r} is no part of a recipe", remedy)

    @property
    def memory_format(self) -> torch.memory_format:
        """The layout to which network and batches are brought."""
        return torch.channels_last if self.channels_last else torch.preserve_format

    def steps(self, examples: int) -> int:
        """Optimizer steps in all; a last batch of a single example makes none."""
        full, rest = divmod(examples, self.batch_size)
        return self.epochs * max(1, full + (rest > 1))

    def prepare(self, batch: Batch, generator: torch.Generator) -> Batch:
        """A batch as it is trained on: augmented, in the recipe's layout."""
        x = batch.x
        for augment in self.augmentation:
            x = augment(x, generator)
        return batch._replace(x=x.to(memory_format=self.memory_format))
