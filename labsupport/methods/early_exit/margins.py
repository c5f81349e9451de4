"""How sure a rule must be: margins from validation images for an agreement one asks for."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from labsupport.core.errors import LabError
from labsupport.data import Split
from labsupport.data.shifts import with_shifts
from labsupport.methods.early_exit.rules import LEAST, NEVER, Calibration, Rules, confidences
from labsupport.network.cutting import collect


@dataclass(frozen=True, eq=False)
class Answers:
    """What rules and network say of each image, all (N,).

    `confidence` is the rules' highest softmax share (float64), `ruled` its class, `full` the
    network's answer.
    """

    confidence: Tensor
    ruled: Tensor
    full: Tensor

    @property
    def agree(self) -> Tensor:
        """Where rules and network give the same class."""
        return self.ruled == self.full

    def exits(self, margins: Tensor) -> Tensor:
        """Which images leave early with `margins` (classes,)."""
        return self.confidence >= margins[self.ruled]

    def share(self, margins: Tensor) -> float:
        """Share of the images that leave early."""
        return self.exits(margins).double().mean().item()

    def agreement(self, margins: Tensor) -> float:
        """Share of all images with the network's answer; those that stay have it always."""
        return (self.agree | ~self.exits(margins)).double().mean().item()


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
    return Answers(confidence, ruled, full)


def calibrate(rules: Rules, model: nn.Module, val: Split, required: float, shift: int = 1) -> Rules:
    """The rules with the least margins that keep the required agreement on validation images.

    The validation images are also moved by up to `shift` pixels: nine times the images at 1, and
    harder ones, so that the margins are on the safe side for images as they come. The rules keep
    this as their `calibration`.
    """
    seen = answers(rules, model, val, shift)
    margins = least_margins(seen, len(rules.bias), required)
    return rules.with_margins(margins, Calibration(required, len(val), shift))


def least_margins(seen: Answers, classes: int, required: float) -> Tensor:
    """Per class, the least margin at which at most a share 1 - required of its images is wrong.

    A class's images are those the rules give it; wrong is another answer than the network's. So
    the agreement over all images is at least `required`. NEVER where no margin does it, also for
    a class without images; never below LEAST. Raises LabError for a share outside (0, 1].
    """
    if not 0 < required <= 1:
        raise LabError(f"a required agreement of {required}", "give a share above 0, at most 1")
    margins = [
        _least_margin(seen.confidence[rows], seen.agree[rows], required)
        for rows in (seen.ruled == c for c in range(classes))
    ]
    return torch.tensor(margins, dtype=torch.float64, device=seen.confidence.device)


def _least_margin(confidence: Tensor, agree: Tensor, required: float) -> float:
    ordered, order = confidence.nan_to_num(0.0).sort(descending=True)
    wrong = (~agree[order]).cumsum(0)
    kept = (len(ordered) - wrong).double() / len(ordered)
    # Images of equal confidence leave together, so a margin ends where a group of equals ends.
    ends = torch.cat([ordered[1:] != ordered[:-1], ordered.new_ones(1, dtype=torch.bool)])
    good = ordered[ends & (kept >= required)] if len(ordered) else ordered
    return max(good.min().item(), LEAST) if len(good) else NEVER
