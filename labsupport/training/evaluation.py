"""What a network answers, and how well."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from labsupport.core.errors import LabError
from labsupport.data import Batched
from labsupport.network.modes import evaluating


@dataclass(frozen=True)
class Evaluation:
    """Mean cross-entropy in nats and accuracy in [0, 1]."""

    loss: float
    accuracy: float


def predict(model: nn.Module, split: Batched, batch_size: int = 1000) -> Tensor:
    """Logits of shape (N, classes) in eval mode; each module's own mode is restored.

    Raises LabError for a split without images.
    """
    return torch.cat([logits for logits, _ in _outputs(model, split, batch_size)])


def evaluate(model: nn.Module, split: Batched, batch_size: int = 1000) -> Evaluation:
    """Mean loss and accuracy over a split in eval mode; each module's own mode is restored.

    Raises LabError for a split without images.
    """
    loss_sum, correct = torch.zeros(()), torch.zeros(())
    for logits, y in _outputs(model, split, batch_size):
        loss_sum = loss_sum + cross_entropy(logits, y, reduction="sum")
        correct = correct + (logits.argmax(1) == y).sum()
    return Evaluation(loss_sum.item() / len(split), correct.item() / len(split))


@torch.no_grad()
def _outputs(model: nn.Module, split: Batched, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    if not len(split):
        raise LabError("there are no images to judge by", "give at least one")
    with evaluating(model):
        for x, y in split.batches(batch_size):
            yield model(x), y
