"""Linear sufficient rules: one matrix product that says which images are surely of which class."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from labsupport.core.errors import LabError
from labsupport.network.fingerprint import fingerprint
from labsupport.network.places import Place

LOWEST_MARGIN = math.nextafter(0.5, 1)  # two classes can be at 0.5, never above it
NEVER = math.inf  # a margin that no confidence reaches


@dataclass(frozen=True)
class Origin:
    """Where rules belong: the layer, its feature shape without the batch, the fitted network.

    `layer` is a place as `cut` takes it, `network` the fingerprint of the network whose answers
    the rules give.
    """

    layer: Place
    feature_shape: tuple[int, ...]
    network: str


@dataclass(frozen=True)
class Calibration:
    """How margins came about: the required agreement, and on how many images, in how many copies.

    Only the images are independent; an image was wrong if any of its moved copies was.
    Raises LabError for an agreement outside (0, 1], no image, or no copy.
    """

    required: float
    images: int
    copies: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.required <= 1 or min(self.images, self.copies) < 1:
            raise LabError(f"{self} cannot be", "give an agreement up to 1 on at least one image")


class Rules(nn.Module):
    """A rule per class: linear scores of the features, and how sure is sure enough.

    The scores of all classes are one product of `weight` (classes, n) and the first n features,
    those of the first maps, plus `bias` (classes,). The confidence is their softmax in float64; the
    rule of class c fires where it is at least `margins[c]`, above 0.5 (so that no two rules fire
    together) and up to 1, or NEVER. Where the features hold a NaN no rule fires. `calibration` says
    how the margins came about, None where they were set by hand or not at all.
    """

    weight: Tensor
    bias: Tensor
    margins: Tensor

    def __init__(self, weight: Tensor, bias: Tensor, origin: Origin) -> None:
        super().__init__()
        features = math.prod(origin.feature_shape)
        if weight.dim() != 2 or len(weight) != len(bias) or weight.shape[1] > features:
            raise LabError(
                f"rules of shape {tuple(weight.shape)} for {len(bias)} classes and features of "
                f"{origin.feature_shape}",
                "give one row of weights per class, for all features or the first of them",
            )
        self.origin = origin
        self.calibration: Calibration | None = None
        self.register_buffer("weight", weight.detach())
        self.register_buffer("bias", bias.detach())
        margins = torch.full((len(bias),), NEVER, dtype=torch.float64, device=weight.device)
        self.register_buffer("margins", margins)

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one image, charged whether it exits or not."""
        return self.weight.numel()

    def forward(self, features: Tensor) -> Tensor:
        """Scores (N, classes). Raises LabError for features of another shape."""
        if features.shape[1:] != self.origin.feature_shape:
            raise LabError(
                f"features of {tuple(features.shape[1:])} for rules on {self.origin.feature_shape}",
                "give images of the size that the rules were fitted on",
            )
        rows = features.flatten(1)[:, : self.weight.shape[1]]
        if len(rows) == 1:  # a matrix and a vector, which is faster than two matrices
            return torch.addmv(self.bias, self.weight, rows[0]).unsqueeze(0)
        return linear(rows, self.weight, self.bias)

    def fired(self, scores: Tensor) -> Tensor:
        """Whether some rule fires, bool (N,); the class is then the one of the highest score."""
        return (confidences(scores) >= self.margins).any(1)

    def fires(self, scores: Tensor) -> bool:
        """`fired` for a single image (1, classes).

        In Python, where ten numbers take half the time of a handful of calls into torch.
        """
        row = scores[0].tolist()
        best = max(row)
        margin: float = self.margins[row.index(best)].item()
        return 1 / math.fsum(math.exp(score - best) for score in row) >= margin

    def extra_repr(self) -> str:
        """What `print` shows: where the rules belong and how their margins came about."""
        return f"{self.origin}, {self.calibration or 'not calibrated'}"

    def with_margins(self, margins: Tensor, calibration: Calibration | None = None) -> Rules:
        """The same scores with other margins (classes,), and how these came about.

        Raises LabError for margins of 0.5 or less, at which two rules could fire together.
        """
        if margins.shape != self.bias.shape or not bool((margins >= LOWEST_MARGIN).all()):
            problem = f"margins {margins.tolist()} for {len(self.bias)} classes"
            raise LabError(problem, "give one per class, each above 0.5")
        rules = copy.deepcopy(self)
        rules.margins.copy_(margins)
        rules.calibration = calibration
        return rules

    def only(self, *classes: int) -> Rules:
        """The rules of some classes; the other classes never exit."""
        if not classes or not all(0 <= c < len(self.bias) for c in classes):
            problem = f"no rules of the classes {classes}"
            raise LabError(problem, f"choose from 0 to {len(self.bias) - 1}")
        margins = torch.full_like(self.margins, NEVER)
        margins[list(classes)] = self.margins[list(classes)]
        return self.with_margins(margins, self.calibration)

    def check_network(self, model: nn.Module) -> None:
        """Raises LabError for any network but the one whose answers the rules give."""
        if self.origin.network != fingerprint(model):
            raise LabError("these rules were fitted to another network", "fit them to this one")


def confidences(scores: Tensor) -> Tensor:
    """Softmax of the scores in float64, which still tells 1 - 1e-15 from 1."""
    return scores.softmax(1, dtype=torch.float64)
