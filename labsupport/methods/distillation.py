"""Distillation: a small network learns what a large one answers, with its doubts.

Hinton, Vinyals and Dean 2015, "Distilling the knowledge in a neural network", section 2.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from labsupport.data import Split
from labsupport.errors import LabError
from labsupport.training import Objective, Step, predict


def taught(split: Split, teacher: nn.Module) -> Split:
    """The split with the teacher's logits beside the labels: y is (N, 1 + classes).

    The teacher runs once over the split here and never again.
    """
    logits = predict(teacher, split)
    return Split(split.x, torch.cat([split.y[:, None].to(logits.dtype), logits], 1))


def soft_targets(temperature: float = 4.0, weight: float = 0.9) -> Objective:
    """What `fit` descends on a taught split: `weight` for the teacher, the rest for the labels.

    The teacher's part is the cross-entropy with its softmax at the temperature, times the
    temperature squared, so that its gradient does not shrink with it.
    Raises LabError for a temperature that is not above 0 or a weight outside [0, 1].
    """
    if not temperature > 0 or not 0 <= weight <= 1:
        problem = f"a temperature of {temperature} with weight {weight}"
        raise LabError(problem, "give a temperature above 0 and a weight from 0 to 1")

    def objective(model: nn.Module, x: Tensor, y: Tensor) -> Step:
        if y.dim() != 2:
            raise LabError("there is no teacher beside the labels", "train on `taught(...)`")
        labels, told = y[:, 0].long(), y[:, 1:]
        logits = model(x)
        hard = cross_entropy(logits, labels)
        shares = (told / temperature).softmax(1)
        soft = cross_entropy(logits / temperature, shares)
        return Step(weight * temperature**2 * soft + (1 - weight) * hard, logits, labels)

    return objective
