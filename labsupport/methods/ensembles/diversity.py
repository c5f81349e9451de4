"""How often members of an ensemble answer differently: those who agree gain nothing together."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from labsupport.core.errors import LabError
from labsupport.data import Batched
from labsupport.training import predict


def disagreements(models: Iterable[nn.Module], split: Batched) -> Tensor:
    """The share of images on which two networks answer differently, (networks, networks).

    Kuncheva and Whitaker 2003, section 2.3, of answers in place of right and wrong. Raises LabError
    for no network and for no image.
    """
    answers = [predict(model, split).argmax(1) for model in models]
    if not answers:
        raise LabError("no network answers", "give the members of an ensemble")
    each = torch.stack(answers)
    return (each[:, None] != each).double().mean(2)


def disagreement(models: Iterable[nn.Module], split: Batched) -> float:
    """The mean of `disagreements` over all pairs of two networks.

    Raises LabError for fewer than two networks and for no image.
    """
    shares = disagreements(models, split)
    members = len(shares)
    if members < 2:
        raise LabError("one network has nobody to disagree with", "give at least two")
    return shares.sum().item() / (members * (members - 1))
