"""Distillation: a small network learns what a large one answers, with its doubts.

Hinton, Vinyals and Dean 2015, "Distilling the knowledge in a neural network", section 2.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from labsupport.core.errors import LabError
from labsupport.data import Split
from labsupport.training import Objective, Step, predict


def taught(split: Split, teacher: nn.Module) -> Split:
    """The split with the teacher's logits beside the labels: y is (N, 1 + classes).

    The teacher runs once over the split here and never again. Raises LabError for a split that has
    a teacher already.
    """
    if split.y.dim() != 1:
        raise LabError("the split has a teacher already", "give the split with its labels alone")
    logits = predict(teacher, split)
    return Split(split.x, torch.cat([split.y[:, None].float(), logits.float()], 1))


def soft_targets(temperature: float = 4.0, weight: float = 0.9) -> Objective:
    """What `fit` descends on a taught split: `weight` for the teacher, the rest for the labels.

    The teacher's part is the cross-entropy with its softmax at the temperature, times the
    temperature squared, so that its gradient does not shrink with it.
    Raises LabError for a temperature that is not above 0 or a weight outside [0, 1], and, when
    called, without a teacher's logits or for those of other classes.
    """
    if not 0 < temperature < math.inf or not 0 <= weight <= 1:
        problem = f"a temperature of {temperature} with weight {weight}"
        raise LabError(problem, "give a temperature above 0 and a weight from 0 to 1")

    def objective(model: nn.Module, x: Tensor, y: Tensor) -> Step:
        if y.dim() != 2:
            raise LabError("there is no teacher beside the labels", "train on `taught(...)`")
        labels, told = y[:, 0].long(), y[:, 1:]
        logits = model(x)
        if logits.shape != told.shape:
            problem = f"{logits.shape[1]} classes learn from {told.shape[1]}"
            raise LabError(problem, "take a teacher of the same classes")
        hard = cross_entropy(logits, labels)
        shares = (told / temperature).softmax(1)
        soft = cross_entropy(logits / temperature, shares)
        return Step(weight * temperature**2 * soft + (1 - weight) * hard, logits, labels)

    return objective
