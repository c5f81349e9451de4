"""A value with its 95 % interval, its quantiles by SciPy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import quantile_test, t

from labsupport.core.errors import LabError


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float

    def columns(self, name: str) -> dict[str, float]:
        """Value and ends as the clocked columns NAME_clocked, NAME_low_clocked, ..._high_..."""
        return {
            f"{name}_clocked": self.value,
            f"{name}_low_clocked": self.low,
            f"{name}_high_clocked": self.high,
        }


def median_interval(values: ArrayLike) -> Interval:
    """The median of independent values and its interval between two of them, by the binomial law.

    It holds for any distribution (the sign test, inverted). Fewer than six values do not reach
    95 %: their range, which of five holds the median in 94 % of all cases, is given.
    """
    sample = np.asarray(values, dtype=float)
    ends = quantile_test(sample, q=np.median(sample)).confidence_interval(0.95)
    low = sample.min() if np.isnan(ends.low) else ends.low
    high = sample.max() if np.isnan(ends.high) else ends.high
    return Interval(float(np.median(sample)), float(low), float(high))


def crossed_interval(values: ArrayLike) -> Interval:
    """The mean of values (rows, columns) and its interval, where rows and columns are samples.

    As of gaps between two kinds of networks, a row per seed and a column per test image: with other
    seeds, and with other images, the mean would be another. The variances of both add up; the
    residual, the noise of single values, stands in both and counts once: two-way crossed random
    effects (e.g. Searle, Casella and McCulloch 1992, "Variance components"). The sum is at least
    the larger of the two; its degrees of freedom are those of Satterthwaite 1946, but no fewer than
    those of the shorter side. With two or three rows it holds the truth in about nine of ten cases.
    Raises LabError for fewer than two rows or columns, and for what is no table of finite numbers.
    """
    table = _table(values)
    degrees = np.array(table.shape) - 1
    mean, of_rows, of_columns = table.mean(), table.mean(1), table.mean(0)
    parts = np.array([of_rows.var(ddof=1), of_columns.var(ddof=1)]) / table.shape
    residuals = table - of_rows[:, None] - of_columns + mean
    residual = (residuals**2).sum() / degrees.prod() / table.size
    variance = max(*parts, parts.sum() - residual)
    if not variance:
        return Interval(float(mean), float(mean), float(mean))
    freedom = variance**2 / ((parts**2 / degrees).sum() + residual**2 / degrees.prod())
    reach = t.ppf(0.975, max(freedom, degrees.min())) * variance**0.5
    return Interval(float(mean), float(mean - reach), float(mean + reach))


def _table(values: ArrayLike) -> NDArray[np.float64]:
    """Values of at least two rows and columns. Raises LabError for any others."""
    try:
        table = np.atleast_2d(np.asarray(values, dtype=float))
    except (TypeError, ValueError):
        problem = "an interval of what is no table of numbers"
        raise LabError(problem, "give rows of numbers, all of one length") from None
    if table.ndim > 2 or min(table.shape) < 2:
        problem = f"an interval of {' x '.join(map(str, table.shape))} values"
        raise LabError(problem, "give at least two rows and two columns, as of seeds and images")
    if not np.isfinite(table).all():
        problem = "an interval of values of which some are NaN or infinite"
        raise LabError(problem, "look at what gave them")
    return table
