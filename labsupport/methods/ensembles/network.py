"""Networks that answer together: the mean of their probabilities.

Huang et al. 2017, "Snapshot ensembles: train 1, get M for free", section 3; the members of a
snapshot ensemble are those of `training.snapshots`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from labsupport.core.errors import LabError


class Ensemble(nn.Module):
    """Networks for the same classes as one; `ensemble` builds it of copies.

    It gives the logarithm of its members' mean probabilities, whose softmax is that mean: logits
    like any other network's, also for a student to learn from.
    """

    def __init__(self, members: Iterable[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes). Raises LabError for members of different classes."""
        answers = [member(x).log_softmax(1) for member in self.members]
        return torch.logsumexp(_stacked(answers), 0) - math.log(len(answers))


def ensemble(models: Iterable[nn.Module]) -> Ensemble:
    """An Ensemble of copies, in the mode of the first. Raises LabError for no network at all."""
    models = list(models)
    if not models:
        raise LabError("an ensemble of nothing", "give at least one network")
    members = [copy.deepcopy(model) for model in models]
    return _in_modes_of(models, members, Ensemble(members))


class Mirrored(nn.Module):
    """Images turned left to right."""

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, C, H, W) of the same shape."""
        return x.flip(-1)


class Moved(nn.Module):
    """Images moved down and right by so many pixels, up and left if below 0; the border fills up.

    Without decisions on shapes, so that networks with views can be traced.
    """

    def __init__(self, pixels: int) -> None:
        super().__init__()
        self.pixels = pixels

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, C, H, W) of the same shape."""
        before, after = max(self.pixels, 0), max(-self.pixels, 0)
        wider = pad(x, (before, after) * 2, mode="replicate")
        return wider[..., after or None : -before or None, after or None : -before or None]

    def extra_repr(self) -> str:
        """What `print` shows."""
        return str(self.pixels)


def mirrored(model: nn.Module) -> Ensemble:
    """A network that answers for each image and for its mirror image: one network, asked twice.

    The copy has its weights once, its MACs twice. See `multicrop`.
    """
    network = copy.deepcopy(model)
    together = Ensemble([network, nn.Sequential(Mirrored(), network)])
    return _in_modes_of([model], [network], together)


def multicrop(model: nn.Module, pixels: int = 1) -> Ensemble:
    """A network that is `mirrored`, for each image, and for it moved up left and down right.

    Test-time augmentation: Jordan 2024, section 3.5, with the plain mean of probabilities, where
    Jordan takes a weighted one of logits and reflects the border. The copy has its weights once,
    its MACs six times. Raises LabError for pixels that are no whole number above 0.
    """
    if not isinstance(pixels, int) or pixels < 1:
        raise LabError(f"views moved by {pixels} pixels", "give a whole number above 0")
    both = mirrored(model)
    together = Ensemble([both, *(nn.Sequential(Moved(by), both) for by in (-pixels, pixels))])
    return _in_modes_of([model], [both.members[0]], together)


def _in_modes_of(
    models: list[nn.Module], copies: Iterable[nn.Module], together: Ensemble
) -> Ensemble:
    """The copies in the modes of their models, all that is around them in that of the first."""
    together.train(models[0].training)
    for model, copied in zip(models, copies, strict=True):
        for own, of_copy in zip(model.modules(), copied.modules(), strict=True):
            of_copy.training = own.training
    return together


def _stacked(answers: list[Tensor]) -> Tensor:
    try:
        return torch.stack(answers)
    except RuntimeError:
        classes = " and ".join(str(answer.shape[1]) for answer in answers)
        problem = f"members of an ensemble for {classes} classes"
        raise LabError(problem, "take networks for the same classes") from None
