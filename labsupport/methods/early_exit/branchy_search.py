"""When a branch is sure enough: entropy thresholds searched on validation images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from labsupport.core.errors import LabError
from labsupport.core.front import pareto_front
from labsupport.data import Batched
from labsupport.methods.early_exit.branchy import BranchyNet, entropy
from labsupport.network.modes import evaluating

Thresholds = tuple[float, ...]


@dataclass(frozen=True, eq=False)
class ExitAnswers:
    """What every exit says of each image.

    `entropies` is float32 (N, branches) in nats, `answers` int64 (N, exits), `labels` (N,).
    """

    entropies: NDArray[np.float32]
    answers: NDArray[np.int64]
    labels: NDArray[np.int64]

    def left_at(self, thresholds: Thresholds) -> NDArray[np.int64]:
        """Where each image leaves, (N,): the first branch that is sure, else the last exit."""
        sure = self.entropies < np.array(thresholds, dtype=np.float32)
        return np.where(sure.any(1), sure.argmax(1), len(thresholds))


@torch.no_grad()
def exit_answers(net: BranchyNet, split: Batched, batch_size: int = 100) -> ExitAnswers:
    """Entropies and answers of all exits for all images; the modules' modes are restored.

    Raises LabError for a split without images.
    """
    if len(split) == 0:
        raise LabError("there is no image to search thresholds on", "give at least one")
    with evaluating(net):
        rows = [(net.all_logits(x), y) for x, y in split.batches(batch_size)]
    logits = [torch.cat(exit_) for exit_ in zip(*(exits for exits, _ in rows), strict=True)]
    return ExitAnswers(
        torch.stack([entropy(branch) for branch in logits[:-1]], 1).cpu().numpy(),
        torch.stack([exit_.argmax(1) for exit_ in logits], 1).cpu().numpy(),
        torch.cat([y for _, y in rows]).cpu().numpy(),
    )


def search_thresholds(
    net: BranchyNet,
    split: Batched,
    floor: float,
    costs: Sequence[float] | None = None,
    grid: int = 20,
) -> tuple[Thresholds, pd.DataFrame]:
    """The thresholds of least mean cost whose accuracy on `split` is at least `floor`.

    `costs` is what an image costs that leaves at each exit, in any unit (MACs, microseconds); by
    default the number of exits it has passed. With one branch every threshold that makes a
    difference is tried, with several `grid` quantiles of each branch's entropies. Where nothing
    reaches the floor, all thresholds are 0: no image leaves early.

    The table is the front, from cheap to dear: a row per choice that no other one beats in both
    cost and accuracy. Columns threshold_1, ..., share_1, ... (the last is the trunk's), accuracy,
    agreement (with the trunk), cost. Raises LabError for a floor outside [0, 1] or a wrong number
    of costs.
    """
    exits = len(net.layers) + 1
    costs = range(1, exits + 1) if costs is None else costs
    if len(costs) != exits:
        raise LabError(f"{len(costs)} costs for {exits} exits", "give one per exit")
    if not 0 <= floor <= 1:
        raise LabError(f"a floor of {floor}", "give an accuracy from 0 to 1")
    seen = exit_answers(net, split)
    tried = [_row(seen, thresholds, costs) for thresholds in _candidates(seen, grid)]
    table = pareto_front(pd.DataFrame(tried), "cost", "accuracy").reset_index(drop=True)
    return _cheapest(table, floor, exits - 1), table


def _candidates(seen: ExitAnswers, grid: int) -> Iterable[Thresholds]:
    """All choices of thresholds to try; each branch may also never let an image leave."""
    columns = seen.entropies.T
    most = len(seen.labels) if len(columns) == 1 else grid
    return product(*(_steps(column, most) for column in columns))


def _steps(entropies: NDArray[np.float32], most: int) -> list[float]:
    """0, and up to `most` thresholds between distinct entropies: each lets all below it leave."""
    distinct = np.unique(entropies[~np.isnan(entropies)])
    if not len(distinct):
        return [0.0]
    above = np.append(distinct[1:], np.nextafter(distinct[-1], np.float32(np.inf)))
    kept = np.unique(np.linspace(0, len(above) - 1, min(most, len(above))).round().astype(int))
    return [0.0, *above[kept].tolist()]


def _row(seen: ExitAnswers, thresholds: Thresholds, costs: Sequence[float]) -> dict[str, float]:
    left = seen.left_at(thresholds)
    answers = np.take_along_axis(seen.answers, left[:, None], 1)[:, 0]
    shares = np.bincount(left, minlength=len(costs)) / len(left)
    return {
        **{f"threshold_{i}": value for i, value in enumerate(thresholds, 1)},
        **{f"share_{i}": value for i, value in enumerate(shares.tolist(), 1)},
        "accuracy": float((answers == seen.labels).mean()),
        "agreement": float((answers == seen.answers[:, -1]).mean()),
        "cost": float(shares @ np.array(costs, dtype=float)),
    }


def _cheapest(table: pd.DataFrame, floor: float, branches: int) -> Thresholds:
    good = table[table["accuracy"] >= floor]
    if good.empty:
        return (0.0,) * branches
    names = [f"threshold_{i}" for i in range(1, branches + 1)]
    return tuple(good[names].iloc[0].tolist())
