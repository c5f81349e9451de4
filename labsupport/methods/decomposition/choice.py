"""The best decomposition of each layer for a budget, from a table of candidates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from labsupport.core.errors import LabError
from labsupport.methods.decomposition.candidate_table import COSTS
from labsupport.methods.decomposition.pieces import Decomposition

MOST = 2**14  # choices for some layers that are carried on to the next one
STEPS = 40  # from the seconds of the layers as they are to the least


def choose(table: pd.DataFrame, budget: float, by: str = "macs") -> dict[str, Decomposition]:
    """The decompositions by layer with the least summed error whose `by` sum to at most `budget`.

    `by` is a column: macs, seconds or parameters, of the table's layers together. Layers that are
    best left as they are have no entry. One row of each layer: a multiple-choice knapsack, solved
    layer by layer (Kellerer et al. 2004, "Knapsack problems", section 11.5), exactly unless very
    many choices are of use. Raises LabError for another column, one that was not filled, and a
    budget that is no number or that no choice keeps.
    """
    if by not in COSTS or math.isnan(budget):
        raise LabError(f"a budget of {budget} {by}", f"give a number of {', '.join(COSTS)}")
    for column, remedy in ((by, "have them clocked, or counted"), ("error", "leave some out")):
        if not np.isfinite(table[column].to_numpy(float)).all():
            raise LabError(f"the table has no finite {column} for each candidate", remedy)
    layers = [rows for _, rows in table.groupby("layer", sort=False)]
    least = sum(float(rows[by].min()) for rows in layers)
    if least > budget:
        problem = f"the table's layers take at least {least:g} {by}, more than {budget:g}"
        raise LabError(problem, "raise the budget, or give candidates that take less")
    choices = _Choices(np.zeros(1), np.zeros(1), np.zeros((1, 0), int))
    for rows in layers:
        choices = choices.with_layer(rows[by].to_numpy(float), rows["error"].to_numpy(float))
        choices = choices.useful(budget)
    picked = choices.picks[np.argmin(choices.error)]
    chosen = [rows.iloc[pick] for rows, pick in zip(layers, picked, strict=True)]
    return {
        row["layer"]: row["decomposition"] for row in chosen if row["decomposition"] is not None
    }


def remaining(table: pd.DataFrame, macs: float, times: float) -> float:
    """What a table's layers may take, of a network of so many MACs, to leave `times` fewer.

    Below 0 where the other layers alone take more.
    """
    return macs / times - (macs - float(table.groupby("layer")["macs"].first().sum()))


def taken(table: pd.DataFrame, chosen: Mapping[str, Decomposition], by: str = "macs") -> float:
    """What a table's layers take once some are decomposed as chosen.

    Raises LabError for a choice that is not in the table.
    """
    total = 0.0
    for name in dict.fromkeys([*table["layer"], *chosen]):
        hows = table.loc[table["layer"] == name, "decomposition"]
        rows = [index for index, how in hows.items() if how == chosen.get(name)]
        if not rows:
            raise LabError(f"the table has no such choice for layer {name}", "choose from its rows")
        total += float(table.loc[rows[0], by])
    return total


def choose_timed(table: pd.DataFrame, budget: float, times: float = 1) -> dict[str, Decomposition]:
    """The decompositions that `choose` finds for the most seconds within a budget of MACs, too.

    The layers take at least `times` less time, or the least there can be. Where that takes too
    many MACs, as of layers with few channels, the budget alone counts, and decompositions that take
    longer than their layer only if it cannot be kept without them. Raises LabError as `choose`
    does, and for `times` that are no number above 0.
    """
    if not 0 < times < math.inf:
        raise LabError(f"{times} times less time", "give a number above 0")
    layers = table.groupby("layer")["seconds"]
    least = float(layers.min().sum())
    most = max(least, float(layers.first().sum()) / times)
    for part in np.linspace(1, 0, STEPS):
        chosen = choose(table, least * (1 + 1e-9) + part * (most - least), "seconds")
        if taken(table, chosen) <= budget:
            return chosen
    faster = table[table["seconds"] <= layers.transform("first")]
    enough = float(faster.groupby("layer")["macs"].min().sum()) <= budget
    return choose(faster if enough else table, budget)


@dataclass(frozen=True)
class _Choices:
    """Choices for the layers so far: what each takes, its error, and its row of each layer."""

    taken: NDArray[np.float64]
    error: NDArray[np.float64]
    picks: NDArray[np.int_]

    def with_layer(self, taken: NDArray[np.float64], error: NDArray[np.float64]) -> _Choices:
        """Each choice with each row of one more layer."""
        before = np.repeat(np.arange(len(self.taken)), len(taken))
        row = np.tile(np.arange(len(taken)), len(self.taken))
        return _Choices(
            self.taken[before] + taken[row],
            self.error[before] + error[row],
            np.column_stack([self.picks[before], row]),
        )

    def useful(self, budget: float) -> _Choices:
        """Those within the budget than which no other takes as little at as little error."""
        order = np.lexsort((self.error, self.taken))
        order = order[self.taken[order] <= budget * (1 + 1e-12)]
        best_before = np.minimum.accumulate(np.r_[np.inf, self.error[order][:-1]])
        order = order[self.error[order] < best_before]
        if len(order) > MOST:  # evenly spread, the cheapest and the best among them
            order = order[np.linspace(0, len(order) - 1, MOST).round().astype(int)]
        return _Choices(self.taken[order], self.error[order], self.picks[order])
