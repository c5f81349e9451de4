"""Trials: what a choice of masks saves and loses, each by one forward pass over a split."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from labsupport.core.errors import LabError
from labsupport.data import Batched
from labsupport.methods.spatial.masks import Mask
from labsupport.methods.spatial.network import SpatialNetwork
from labsupport.methods.spatial.patterns import everything
from labsupport.network.cost import Cost, predict_with_cost

Choice = Mapping[str, Mask | None]  # a mask by the layer's name; None for no prediction in it


@dataclass(frozen=True)
class Trial:
    """MACs that an image saves, and the accuracy lost for it (0.01 is a point; gains are below 0).

    Both are means over the split of the trial.
    """

    saved_macs: float
    loss: float


@dataclass(frozen=True)
class Found:
    """What a search came to: a network with the masks, what they save and lose, and all passes.

    `passes` has a row for each pass over the split: stage, direction ("forward" or "backward"),
    share (of the network's MACs that the pass ran), and saved_macs and loss of the masks in force.
    """

    network: SpatialNetwork
    trial: Trial
    passes: pd.DataFrame


class Trials:
    """Tries masks on a copy of a network, and keeps for each eps the best that lose no more.

    Raises LabError for a split without images, and an eps below 0.
    """

    def __init__(
        self, network: SpatialNetwork, split: Batched, epsilons: Iterable[float], batch_size: int
    ) -> None:
        epsilons = [checked_eps(eps) for eps in epsilons]
        self.network, self.split, self.batch_size = copy.deepcopy(network), split, batch_size
        self.rows: list[dict[str, object]] = []
        self.first_masks = self.network.masks
        self.network.disable()
        logits, self.plain = predict_with_cost(self.network, split, batch_size)
        self.labels = torch.cat([y for _, y in split.batches(batch_size)])
        self.right = self._right(logits)
        none: tuple[Choice, Trial] = {}, Trial(0.0, 0.0)
        self.best = dict.fromkeys(epsilons, none)
        self.log("plain", none[1])

    def run(self, stage: str, choice: Choice) -> Trial:
        """One pass with these masks, and none in all other layers."""
        self._choose(choice)
        logits, cost = predict_with_cost(self.network, self.split, self.batch_size)
        return self.note(stage, choice, self.judged(logits, self.plain, cost))

    def judged(self, logits: Tensor, plain: Cost, cost: Cost) -> Trial:
        """What a pass shows beside one without masks that cost `plain`."""
        # Whole MACs of the split: a part of the network gives the same number as all of it.
        saved = round((plain.fp_macs - cost.fp_macs) * len(self.labels)) / len(self.labels)
        return Trial(saved, (self.right - self._right(logits)) / len(self.labels))

    def note(self, stage: str, choice: Choice, trial: Trial, share: float = 1.0) -> Trial:
        """Write down a trial, and keep its masks where they are the best so far."""
        for eps, (_, best) in self.best.items():
            if trial.loss <= eps and worth(trial) > worth(best):
                self.best[eps] = choice, trial
        self.log(stage, trial, share=share)
        return trial

    def log(self, stage: str, trial: Trial, direction: str = "forward", share: float = 1.0) -> None:
        """Write down a pass."""
        masks = {"saved_macs": trial.saved_macs, "loss": trial.loss}
        self.rows.append({"stage": stage, "direction": direction, "share": share} | masks)

    def found(self, eps: float) -> Found:
        """The network with the best masks that were tried and lose at most this eps."""
        choice, trial = self.best[eps]
        return Found(self.masked(choice), trial, pd.DataFrame(self.rows))

    def masked(self, choice: Choice) -> SpatialNetwork:
        """A copy of the network with these masks, and none in all other layers."""
        self._choose(choice)
        return copy.deepcopy(self.network)

    def _choose(self, choice: Choice) -> None:
        masks = {name: mask for name, mask in choice.items() if mask is not None}
        self.network.disable()
        self.network.set_masks(self.first_masks | masks)
        if masks:
            self.network.enable(*masks)

    def _right(self, logits: Tensor) -> int:
        return int((logits.argmax(1) == self.labels).sum())


def checked_eps(eps: float) -> float:
    """The eps as given. Raises LabError for one below 0."""
    if not 0 <= eps < math.inf:
        problem = f"eps of {eps}"
        raise LabError(problem, "give the accuracy that may be lost, 0.01 for one point")
    return eps


def worth(trial: Trial) -> tuple[float, float]:
    """What to sort by, more is better: what is saved, and among equals what is not lost."""
    return trial.saved_macs, -trial.loss


def or_none(p: int, codes: Tensor) -> Mask | None:
    """A mask, or none where the codes say that all is computed."""
    return None if bool((codes == everything(p)).all()) else Mask(p, codes)
