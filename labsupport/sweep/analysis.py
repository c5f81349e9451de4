"""What a sweep's table says: which factor moves a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

import pandas as pd

from labsupport.core.errors import LabError


def variance_shares(
    table: pd.DataFrame, figure: str, factors: Mapping[str, Sequence[str]]
) -> pd.Series[float]:
    """Which share of a figure's variance goes with which factor (analysis of variance).

    `factors` gives each factor's columns; several columns are one factor with all combinations of
    their values. Besides the factors there are "interaction", what they do only in combination,
    and "residual", the variance among rows that agree in all factors: that between seeds.
    The shares add up to 1; those of a figure that is the same in all rows are NaN.
    Raises LabError unless every combination has equally many rows, and each of them the figure.
    Source: Fisher 1925, chapter VII.
    """
    columns = [column for group in factors.values() for column in group]
    _check_balance(table, columns)
    if table[figure].isna().any():
        problem = f"{table[figure].isna().sum()} of {len(table)} rows have no {figure}"
        raise LabError(problem, "run what failed again, or choose another figure")
    total = float(((table[figure] - table[figure].mean()) ** 2).sum())
    explained = {name: _between(table, figure, list(group)) for name, group in factors.items()}
    cells = _between(table, figure, columns)
    shares = {
        **explained,
        "interaction": cells - sum(explained.values()),
        "residual": total - cells,
    }
    alike = table[figure].nunique() == 1  # whose deviations from the mean are but rounding
    return pd.Series(shares) / (float("nan") if alike else total)


def _between(table: pd.DataFrame, figure: str, columns: Sequence[str]) -> float:
    """The sum of squares between groups of rows with equal values in `columns`."""
    means = table.groupby(list(columns))[figure].transform("mean")
    return float(((means - table[figure].mean()) ** 2).sum())


def _check_balance(table: pd.DataFrame, columns: Sequence[str]) -> None:
    rows = table.groupby(list(columns)).size()
    combinations = prod(table[column].nunique() for column in columns)
    if len(rows) != combinations or rows.nunique() != 1:
        raise LabError(
            f"{len(rows)} of {combinations} combinations of {', '.join(columns)}, "
            f"with {rows.min()} to {rows.max()} rows",
            "a decomposition needs every combination equally often: run what failed again",
        )
