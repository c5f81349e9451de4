"""Retraining with masks in force, and search and retraining by turns.

Imanuel and Batenkov 2019, "CNN spatial optimizations", retrain once after their search.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import pandas as pd

from labsupport.core.errors import LabError
from labsupport.data import Batched, Splits
from labsupport.methods.spatial.network import SpatialNetwork, disabled
from labsupport.methods.spatial.statistics import savings
from labsupport.methods.spatial.trials import Found, Trial, checked_eps, worth
from labsupport.training import CrossEntropy, Objective, Recipe, SparseOfmaps, evaluate, fit

Search = Callable[[SpatialNetwork, Batched, list[float]], Mapping[float, Found]]
ROUNDING = 1e-9  # of sums of losses


def retrain(
    network: SpatialNetwork,
    splits: Splits[Any],
    recipe: Recipe,
    seed: int = 0,
    *,
    sparsity: float = 0.0,
) -> SpatialNetwork:
    """A copy that is trained further with its masks in force.

    Predicted positions get no gradient: they are zero whatever their weights. `sparsity` is the
    weight of `SparseOfmaps`. For a history, or an objective of your own, use `training.fit`. Raises
    LabError as that does, as `SparseOfmaps` for a sparsity other than 0, and for a network without
    spatial layers.
    """
    if not isinstance(network, SpatialNetwork):
        raise LabError(f"a {type(network).__name__} has no spatial layers", "spatialize it first")
    objective: Objective = CrossEntropy(recipe.label_smoothing)
    if sparsity:
        objective = SparseOfmaps(sparsity, objective=objective)
    return cast(SpatialNetwork, fit(network, splits, recipe, seed, objective=objective).model)


@dataclass(frozen=True)
class Alternation:
    """What search and retraining by turns came to: the network, what it saves and loses.

    `steps` has a row for each network on the way: turn, step ("search" or "retrain"), saved_macs,
    loss, from the accuracy of the first network without masks.
    """

    network: SpatialNetwork
    trial: Trial
    steps: pd.DataFrame


def alternate(
    network: SpatialNetwork,
    splits: Splits[Any],
    eps: float,
    search: Search,
    recipe: Recipe,
    seed: int = 0,
    *,
    search_eps: float | None = None,
    turns: int = 1,
    sparsity: float = 0.0,
) -> Alternation:
    """Masks are searched, the network is retrained with them, and so on; at last a search alone.

    `search(network, split, epsilons)` gives what it finds by eps, as `fast_front` does with its
    other arguments filled in by `functools.partial`. What is retrained may lose `search_eps` before
    (by default `eps`), as retraining wins some back. All is measured on validation images, from the
    accuracy that the given network has without masks: the answer is what saves most of all networks
    on the way that lose at most `eps`. Raises LabError for a negative eps and less than one turn.
    """
    wide = checked_eps(eps if search_eps is None else search_eps)
    checked_eps(eps)
    if turns < 1:
        raise LabError(f"{turns} turns of retraining", "give at least 1")
    tried = _Tried(splits.val, _plain_accuracy(network, splits.val))
    for turn in range(1, turns + 1):
        masked = tried.search(turn, network, search, [eps, wide])
        network = retrain(masked, splits, recipe, seed + turn, sparsity=sparsity)
        tried.add(turn, "retrain", network, tried.measured(network))
    tried.search(turns + 1, network, search, [eps, eps])
    return tried.best(eps)


class _Tried:
    """Networks on the way, and what they lose from an accuracy."""

    def __init__(self, split: Batched, accuracy: float) -> None:
        self.split, self.accuracy = split, accuracy
        self.networks: list[tuple[SpatialNetwork, Trial]] = []
        self.rows: list[dict[str, object]] = []

    def search(
        self, turn: int, network: SpatialNetwork, search: Search, epsilons: list[float]
    ) -> SpatialNetwork:
        """The masks for each eps that the network without masks leaves room for; the last one's."""
        lost = self.accuracy - _plain_accuracy(network, self.split)
        rooms = [max(0.0, eps - lost) for eps in epsilons]
        found = search(network, self.split, sorted(set(rooms)))
        for one in found.values():
            trial = Trial(one.trial.saved_macs, one.trial.loss + lost)
            self.add(turn, "search", one.network, trial)
        return found[rooms[-1]].network

    def measured(self, network: SpatialNetwork) -> Trial:
        """What a network saves and loses with its masks."""
        loss = self.accuracy - evaluate(network, self.split).accuracy
        return Trial(savings(network, self.split).saved_macs, loss)

    def add(self, turn: int, step: str, network: SpatialNetwork, trial: Trial) -> None:
        self.networks.append((network, trial))
        self.rows.append({"turn": turn, "step": step} | vars(trial))

    def best(self, eps: float) -> Alternation:
        allowed = [one for one in self.networks if one[1].loss <= eps + ROUNDING]
        network, trial = max(allowed, key=lambda one: worth(one[1]))
        return Alternation(network, trial, pd.DataFrame(self.rows))


def _plain_accuracy(network: SpatialNetwork, split: Batched) -> float:
    with disabled(network):
        return evaluate(network, split).accuracy
