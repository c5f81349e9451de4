"""The interval of a median against the binomial law, by brute force."""

from itertools import product

import numpy as np
import pytest

from labsupport.measure.intervals import Interval, median_interval


@pytest.mark.parametrize("n", [6, 9, 11])
def test_the_interval_misses_the_median_at_most_once_in_twenty(n):
    """Each of n independent values lies above or below the true median like a coin."""
    interval = median_interval(np.arange(n))
    low, high = int(interval.low), int(interval.high)
    missed = 0
    for sides in product((-1, 1), repeat=n):
        ordered = sorted(sides)
        missed += not ordered[low] <= 0 <= ordered[high]
    assert missed / 2**n <= 0.05


@pytest.mark.parametrize("values", [[7.0], [2.0, 1.0], [3, 1, 2, 5, 4]])
def test_few_values_give_their_range(values):
    assert median_interval(values) == Interval(np.median(values), min(values), max(values))


def test_one_wild_value_does_not_move_it():
    calm = list(range(20))
    assert median_interval([*calm[:-1], 1e9]) == median_interval(calm)


def test_columns_say_that_they_are_clocked():
    assert Interval(2.0, 1.0, 3.0).columns("speedup") == {
        "speedup_clocked": 2,
        "speedup_low_clocked": 1,
        "speedup_high_clocked": 3,
    }
