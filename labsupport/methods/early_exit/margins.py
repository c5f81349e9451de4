"""How sure a rule must be: margins from validation images for an agreement one asks for."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy.stats import binomtest
from torch import Tensor, nn

from labsupport.core.errors import LabError
from labsupport.data import Split
from labsupport.methods.early_exit.rules import (
    LOWEST_MARGIN,
    NEVER,
    Calibration,
    Rules,
    confidences,
)
from labsupport.network.cutting import collect
from labsupport.training.augmentation import shifts, with_shifts


@dataclass(frozen=True, eq=False)
class Answers:
    """What rules and network say of each image, all (N,).

    `confidence` is the rules' highest softmax share (float64), `ruled` its class, `full` the
    network's answer. Of images that were moved there are `copies` runs of rows, one after the
    other, each with all images in the same order. Copies are not independent, so what is counted
    are images.
    """

    confidence: Tensor
    ruled: Tensor
    full: Tensor
    copies: int = 1

    @property
    def images(self) -> int:
        """How many images there are, copies not counted."""
        return len(self.ruled) // self.copies

    @property
    def agree(self) -> Tensor:
        """Where rules and network give the same class."""
        return self.ruled == self.full

    def exits(self, margins: Tensor) -> Tensor:
        """Which rows leave early with `margins` (classes,)."""
        return self.confidence >= margins[self.ruled]

    def share(self, margins: Tensor) -> float:
        """Share of the rows that leave early."""
        return self.exits(margins).double().mean().item()

    def given(self, margins: Tensor) -> Tensor:
        """The answers with which all rows leave, early or at the end."""
        return torch.where(self.exits(margins), self.ruled, self.full)

    def wrong_images(self, margins: Tensor) -> int:
        """Images of which some copy leaves with another answer than the network's."""
        wrong = self.exits(margins) & ~self.agree
        return int(wrong.view(self.copies, -1).any(0).sum())

    def agreement(self, margins: Tensor) -> float:
        """Share of the images with the network's answer to all copies; those that stay have it."""
        return (self.images - self.wrong_images(margins)) / self.images

    def agreement_at_least(self, margins: Tensor, confidence: float = 0.95) -> float:
        """The lower end of the one-sided interval of Clopper and Pearson for the agreement.

        However often an image was moved, it is one independent observation.
        """
        right = self.images - self.wrong_images(margins)
        test = binomtest(right, self.images, alternative="greater")
        return float(test.proportion_ci(confidence).low)


def answers(
    rules: Rules, model: nn.Module, part: Split, shift: int = 0, batch_size: int = 100
) -> Answers:
    """The answers of rules and network to all images of a part, in order.

    The whole part is answered once per shift of up to `shift` pixels, in the order of `shifts`.
    Raises LabError for rules of another network, no image at all, or a shift that does not fit.
    """
    rules.check_network(model)
    if not len(part):
        raise LabError("there is no image to answer", "give at least one")
    rows: list[tuple[Tensor, Tensor, Tensor]] = []
    for moved in with_shifts(part, shift):
        for features, logits in collect(model, rules.origin.layer, moved, batch_size):
            confidence, ruled = confidences(rules(features)).max(1)
            rows.append((confidence, ruled, logits.argmax(1)))
    confidence, ruled, full = (torch.cat(column) for column in zip(*rows, strict=True))
    return Answers(confidence, ruled, full, copies=len(shifts(shift)))


def calibrate(rules: Rules, model: nn.Module, val: Split, required: float, shift: int = 1) -> Rules:
    """The rules with the least margins that keep the required agreement on validation images.

    The validation images are also moved by up to `shift` pixels, and an image counts as wrong if
    any of its copies (nine at 1) leaves wrongly. That asks more than an image as it comes will, but
    it is no more evidence: the number of images stays what it is. The rules keep both numbers as
    their `calibration`.
    """
    seen = answers(rules, model, val, shift)
    margins = least_margins(seen, len(rules.bias), required)
    return rules.with_margins(margins, Calibration(required, seen.images, seen.copies))


def least_margins(seen: Answers, classes: int, required: float) -> Tensor:
    """Per class, the least margin at which at most a share 1 - required of its images is wrong.

    An image is wrong for a class if some copy of it leaves with that class and the network says
    another. A class's images are the copies that the rules give it, over the copies of an image. So
    over all classes the agreement, a share of independent images, is at least `required`.
    NEVER where no margin does it, also for a class without images; never below LOWEST_MARGIN.
    Raises LabError for a share outside (0, 1].
    """
    if not 0 < required <= 1:
        raise LabError(f"a required agreement of {required}", "give a share above 0, at most 1")
    image = torch.arange(len(seen.ruled), device=seen.ruled.device) % max(seen.images, 1)
    margins = [
        _least_margin(seen.confidence[rows], seen.agree[rows], image[rows], seen.copies, required)
        for rows in (seen.ruled == c for c in range(classes))
    ]
    return torch.tensor(margins, dtype=torch.float64, device=seen.confidence.device)


def _least_margin(
    confidence: Tensor, agree: Tensor, image: Tensor, copies: int, required: float
) -> float:
    if not len(confidence):
        return NEVER
    ordered, order = confidence.nan_to_num(0.0).sort(descending=True)
    wrong = _wrong_images(agree[order], image[order])
    kept = (len(ordered) - copies * wrong).double() / len(ordered)
    # Rows of equal confidence leave together, so a margin ends where a group of equals ends.
    ends = torch.cat([ordered[1:] != ordered[:-1], ordered.new_ones(1, dtype=torch.bool)])
    good = ordered[ends & (kept >= required)]
    return max(good.min().item(), LOWEST_MARGIN) if len(good) else NEVER


def _wrong_images(agree: Tensor, image: Tensor) -> Tensor:
    """How many distinct images have disagreed up to each row, int64 (N,)."""
    rows = torch.arange(len(agree), device=agree.device)
    never = rows.new_full((int(image.max()) + 1,), len(rows))
    first = never.scatter_reduce(0, image[~agree], rows[~agree], "amin")
    return first.bincount(minlength=len(rows) + 1)[: len(rows)].cumsum(0)
