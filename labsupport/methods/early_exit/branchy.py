"""BranchyNet: side branches that answer when they are sure, trained together with the trunk.

Teerapittayanon, McDanel and Kung 2016, "BranchyNet: Fast inference via early exiting from deep
neural networks", sections III.A (joint training) and III.B (fast inference by entropy).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from labsupport.core.errors import LabError
from labsupport.data import Batch
from labsupport.methods.early_exit.network import CHUNK, Judged, at_least_one, run_stages
from labsupport.network.cutting import cut, in_order
from labsupport.network.places import Place
from labsupport.training import CrossEntropy, Step


class BranchyNet(nn.Module):
    """A trunk with a branch after some of its layers; `attach_branches` builds it of copies.

    In eval mode an image leaves at the first branch whose answer has an entropy below the
    branch's threshold, in nats. So a threshold of 0 never lets one leave (and its branch is not
    run), one above ln(classes) always; an image whose entropy is NaN runs to the end. In training
    mode every image runs to the end. A batch goes through in chunks of `chunk` images, whose
    feature maps stay in the processor's cache. `segments` are the parts of the trunk between the
    branches, `layers` the places where it was cut for them.
    """

    conditional = True

    def __init__(
        self,
        segments: Iterable[nn.Module],
        branches: Iterable[nn.Module],
        layers: Iterable[Place],
        chunk: int = CHUNK,
    ) -> None:
        super().__init__()
        self.segments, self.branches = nn.ModuleList(segments), nn.ModuleList(branches)
        self.layers = tuple(layers)
        self.thresholds = (0.0,) * len(self.layers)
        self.chunk = at_least_one(chunk)

    def with_thresholds(self, thresholds: Sequence[float]) -> Self:
        """A copy with other thresholds, first branch first.

        Raises LabError for another number of them than there are branches, or for a NaN.
        """
        if len(thresholds) != len(self.branches) or any(map(math.isnan, thresholds)):
            remedy = f"give a number for each of the {len(self.branches)} branches"
            raise LabError(f"thresholds {tuple(thresholds)}", remedy)
        network = copy.deepcopy(self)
        network.thresholds = tuple(map(float, thresholds))
        return network

    def all_logits(self, x: Tensor) -> list[Tensor]:
        """Logits (N, classes) of every exit for every image; the last are the trunk's own."""
        logits = []
        for segment, branch in zip(self.segments, self.branches, strict=False):
            x = segment(x)
            logits.append(branch(x))
        return [*logits, self.segments[-1](x)]

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes), each image's from the exit where it left."""
        if self.training:
            return self._trunk(x)
        return self._single(x) if len(x) == 1 else self.exits(x)[0]

    def exits(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (N, classes) in eval mode, and where each image left, int64 (N,).

        Exits are counted from 0; the last one, `len(layers)`, is the trunk's.
        """
        judges = [partial(_judge, *stage) for stage in self._stages()]
        return run_stages(judges, self.segments[-1], x, self.chunk)

    def _stages(self) -> Iterator[tuple[nn.Module, nn.Module, float]]:
        return zip(self.segments, self.branches, self.thresholds, strict=False)

    def _single(self, x: Tensor) -> Tensor:
        # One image needs no gathering, which would take longer than the first layers do.
        for segment, branch, threshold in self._stages():
            x = segment(x)
            if threshold > 0:
                logits: Tensor = branch(x)
                if entropy(logits).item() < threshold:
                    return logits
        answer: Tensor = self.segments[-1](x)
        return answer

    def _trunk(self, x: Tensor) -> Tensor:
        for segment in self.segments:
            x = segment(x)
        return x


def attach_branches(
    model: nn.Module, branches: Mapping[Place, nn.Module], chunk: int = CHUNK
) -> BranchyNet:
    """A BranchyNet of copies: the trunk `model`, and a branch after each of some layers.

    `branches` gives a branch by its place, as `cut` takes it: `{2: side_branch(...)}` after the
    second module of an nn.Sequential, `{"layer2": side_branch(...)}` behind a layer. No image
    leaves early until `with_thresholds`. Raises LabError as `cut` does, and for a branch on the
    input or no branch at all.
    """
    if not branches or 0 in branches:
        problem = "a branch on the input" if branches else "there is no branch"
        raise LabError(problem, "branch off after at least one layer")
    layers = in_order(model, list(branches))
    segments = cut(model, *layers)
    copies = [copy.deepcopy(branches[layer]) for layer in layers]
    return BranchyNet(segments, copies, layers, chunk).train(model.training)


def entropy(logits: Tensor) -> Tensor:
    """Entropy in nats, (N,), of the softmax of logits (N, classes); a class of share 0 adds 0."""
    terms: Tensor = torch.special.entr(logits.softmax(-1))
    return terms.sum(-1)


@dataclass(frozen=True)
class JointExits:
    """What `fit` descends for a BranchyNet: the weighted sum of all exits' cross-entropies.

    One weight per exit, the trunk's last. The trunk's logits are reported. Raises LabError for
    weights that are negative, infinite, NaN or all zero, and, when called, for another number of
    them than there are exits.
    """

    weights: tuple[float, ...]
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        usable = all(0 <= weight < math.inf for weight in self.weights)
        if not usable or not any(self.weights):
            raise LabError(f"weights {self.weights} of exits", "give weights from 0, one above it")
        CrossEntropy(self.label_smoothing)

    def __call__(self, model: nn.Module, batch: Batch) -> Step:
        """The loss of a batch."""
        exits = _branchy(model, len(self.weights)).all_logits(batch.x)
        smoothing = self.label_smoothing
        losses = [cross_entropy(logits, batch.y, label_smoothing=smoothing) for logits in exits]
        parts = [weight * loss for weight, loss in zip(self.weights, losses, strict=True)]
        return Step(torch.stack(parts).sum(), exits[-1], batch.y)


def _judge(segment: nn.Module, branch: nn.Module, threshold: float, x: Tensor) -> Judged:
    features = segment(x)
    if threshold <= 0:
        return features, torch.zeros(len(x), dtype=torch.bool, device=x.device), features
    logits = branch(features)
    return logits, entropy(logits) < threshold, features


def _branchy(model: nn.Module, exits: int) -> BranchyNet:
    if not isinstance(model, BranchyNet):
        raise LabError(f"a {type(model).__name__} has one exit", "attach branches to it first")
    if len(model.layers) + 1 != exits:
        problem = f"{exits} weights for {len(model.layers) + 1} exits"
        raise LabError(problem, "give one per branch and one for the trunk")
    return model
