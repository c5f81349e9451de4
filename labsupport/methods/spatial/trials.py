"""Trials: what a choice of masks saves and loses, each by one forward pass over a split."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from labsupport.core.errors import LabError
from labsupport.data import Batched
from labsupport.methods.spatial.masks import Mask
from labsupport.methods.spatial.network import SpatialNetwork
from labsupport.methods.spatial.patterns import everything
from labsupport.network.cost import predict_with_cost

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

    `passes` has a row for each forward pass over the split: stage, saved_macs, loss.
    """

    network: SpatialNetwork
    trial: Trial
    passes: pd.DataFrame


class Trials:
    """Tries masks on a copy of a network, and keeps the best of those that lose at most `eps`.

    Raises LabError for a split without images, and an eps below 0.
    """

    def __init__(
        self, network: SpatialNetwork, split: Batched, eps: float, batch_size: int
    ) -> None:
        if not 0 <= eps < math.inf:
            problem = f"eps of {eps}"
            raise LabError(problem, "give the accuracy that may be lost, 0.01 for one point")
        self.eps = eps
        self.network, self.split, self.batch_size = copy.deepcopy(network), split, batch_size
        self.rows: list[dict[str, object]] = []
        self.first_masks = self.network.masks
        self.network.disable()
        logits, plain = predict_with_cost(self.network, split, batch_size)
        self.labels = torch.cat([y for _, y in split.batches(batch_size)])
        self.macs, self.right = plain.fp_macs, self._right(logits)
        self.best: tuple[Choice, Trial] = {}, self._note("plain", Trial(0.0, 0.0))

    def run(self, stage: str, choice: Choice) -> Trial:
        """One pass with these masks, and none in all other layers."""
        self._choose(choice)
        logits, cost = predict_with_cost(self.network, self.split, self.batch_size)
        loss = (self.right - self._right(logits)) / len(self.labels)
        trial = self._note(stage, Trial(self.macs - cost.fp_macs, loss))
        if loss <= self.eps and worth(trial) > worth(self.best[1]):
            self.best = choice, trial
        return trial

    def found(self) -> Found:
        """The network with the best masks that were tried."""
        choice, trial = self.best
        self._choose(choice)
        return Found(copy.deepcopy(self.network), trial, pd.DataFrame(self.rows))

    def _choose(self, choice: Choice) -> None:
        masks = {name: mask for name, mask in choice.items() if mask is not None}
        self.network.disable()
        self.network.set_masks(self.first_masks | masks)
        if masks:
            self.network.enable(*masks)

    def _right(self, logits: Tensor) -> int:
        return int((logits.argmax(1) == self.labels).sum())

    def _note(self, stage: str, trial: Trial) -> Trial:
        self.rows.append({"stage": stage, "saved_macs": trial.saved_macs, "loss": trial.loss})
        return trial


def worth(trial: Trial) -> tuple[float, float]:
    """What to sort by, more is better: what is saved, and among equals what is not lost."""
    return trial.saved_macs, -trial.loss


def or_none(p: int, codes: Tensor) -> Mask | None:
    """A mask, or none where the codes say that all is computed."""
    return None if bool((codes == everything(p)).all()) else Mask(p, codes)
