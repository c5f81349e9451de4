"""Soft targets: a small network learns what a large one answers, with its doubts.

Hinton, Vinyals and Dean 2015, "Distilling the knowledge in a neural network", section 2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from labsupport.core.errors import LabError
from labsupport.data import Batch, Split
from labsupport.network.modes import evaluating
from labsupport.training import Step, predict
from labsupport.training.objectives import extra_of

TEACHER = "teacher_logits"


def with_teacher(split: Split, teacher: nn.Module) -> Split:
    """The split with the teacher's logits (N, classes) as the extra `teacher_logits`.

    The teacher runs once over the split here and never again. Raises LabError for a split that has
    a teacher already.
    """
    if TEACHER in split.extras:
        raise LabError("the split has a teacher already", "give the split without a teacher")
    return replace(split, extras={**split.extras, TEACHER: predict(teacher, split).float()})


@dataclass(frozen=True)
class SoftTargets:
    """What `fit` descends on a split with a teacher: its answers by `weight`, else the labels.

    The teacher's part is the cross-entropy with its softmax at the temperature, times the
    temperature squared, so that its gradient does not shrink with it.
    Raises LabError for a temperature that is not above 0 or a weight outside [0, 1], and, when
    called, without a teacher's logits or for those of other classes.
    """

    temperature: float = 4.0
    weight: float = 0.9

    def __post_init__(self) -> None:
        if not 0 < self.temperature < math.inf or not 0 <= self.weight <= 1:
            problem = f"a temperature of {self.temperature} with weight {self.weight}"
            raise LabError(problem, "give a temperature above 0 and a weight from 0 to 1")

    def __call__(self, model: nn.Module, batch: Batch) -> Step:
        """The loss of a batch."""
        teacher, logits = extra_of(batch, TEACHER), model(batch.x)
        if logits.shape != teacher.shape:
            problem = f"{logits.shape[1]} classes learn from {teacher.shape[1]}"
            raise LabError(problem, "take a teacher of the same classes")
        shares = (teacher / self.temperature).softmax(1)
        soft = cross_entropy(logits / self.temperature, shares)
        hard = cross_entropy(logits, batch.y)
        loss = self.weight * self.temperature**2 * soft + (1 - self.weight) * hard
        return Step(loss, logits, batch.y)


@dataclass(frozen=True, eq=False)
class ConsistentTeacher:
    """What `fit` descends with a teacher that sees the images as the student does, changed.

    In place of answers given once to the images as they are (`with_teacher`), at the cost of a pass
    of the teacher per step. Beyer et al. 2022, "Knowledge distillation: a good teacher is patient
    and consistent", section 3. Raises LabError as its SoftTargets do.
    """

    teacher: nn.Module
    targets: SoftTargets = SoftTargets()

    def __call__(self, model: nn.Module, batch: Batch) -> Step:
        """The loss of a batch."""
        with evaluating(self.teacher), torch.no_grad():
            logits = self.teacher(batch.x).float()
        extras = {**batch.extras, TEACHER: logits}
        return self.targets(model, batch._replace(extras=extras))
