"""The best trade-offs in a table of what things cost and what they give."""

from __future__ import annotations

import pandas as pd


def pareto_front(table: pd.DataFrame, cost: str, gain: str) -> pd.DataFrame:
    """The rows that no other row dominates, cheapest first.

    A row dominates another if it has at most its `cost` and at least its `gain`, and not both
    equal. Of rows that are equal in both, the first one stays; rows without a figure are left out.
    """
    known = table.dropna(subset=[cost, gain])
    ordered = known.sort_values([cost, gain], ascending=[True, False], kind="stable")
    best_of_cheaper = ordered[gain].astype(float).cummax().shift(fill_value=float("-inf"))
    return ordered[ordered[gain] > best_of_cheaper]
