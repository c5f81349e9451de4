"""A value with its 95 % interval, by SciPy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import quantile_test


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
