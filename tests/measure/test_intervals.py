"""The intervals: of a median against the binomial law, of a crossed mean by many draws."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from labsupport.core.errors import LabError
from labsupport.measure.intervals import Interval, crossed_interval, median_interval


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


def test_without_any_effect_of_the_columns_it_is_students_interval():
    of_rows = np.array([1.0, 2.0, 4.0])
    interval = crossed_interval(of_rows[:, None] + np.zeros((3, 7)))
    low, high = stats.t.interval(0.95, 2, of_rows.mean(), stats.sem(of_rows))
    assert interval.value == pytest.approx(of_rows.mean())
    assert (interval.low, interval.high) == pytest.approx((low, high))


def test_rows_and_columns_count_alike():
    table = np.random.default_rng(0).normal(size=(4, 9)) + np.arange(9)
    assert vars(crossed_interval(table)) == pytest.approx(vars(crossed_interval(table.T)))


def test_variances_of_rows_and_columns_add_up():
    rows, columns = np.array([0.0, 1, 2, 3]), np.array([0.0, 2, 4])
    interval = crossed_interval(rows[:, None] + columns)  # no chance of single values
    parts = np.array([rows.var(ddof=1) / 4, columns.var(ddof=1) / 3])
    freedom = max(2, parts.sum() ** 2 / (parts[0] ** 2 / 3 + parts[1] ** 2 / 2))
    reach = stats.t.ppf(0.975, freedom) * parts.sum() ** 0.5
    assert interval.high - interval.value == pytest.approx(reach)


@pytest.mark.parametrize(
    ("rows", "columns", "variance", "freedom"),
    [
        # Mean squares 36 of rows, 20 of columns; 24 is the 12**2 / 6 of the residuals.
        ((-3, 0, 3), (-3, -1, 1, 3), (36 + 20 - 12) / 12, 44**2 / (36**2 / 2 + 20**2 / 3 + 24)),
        # 16 and 14, whose own degrees of freedom are 1.5: those of the rows in their place.
        ((-2, 0, 2), (-2, -1, 0, 3), (16 + 14 - 12) / 12, 2),
        # 4 and 2, less than the residual's: the larger of both alone.
        ((-1, 0, 1), (-1, 0, 0, 1), 4 / 12, 2),
    ],
    ids=["sum", "few degrees", "noise above both"],
)
def test_it_follows_the_mean_squares(rows, columns, variance, freedom):
    """A table of 3 x 4 values with effects of known squares, and residuals of mean square 12."""
    residuals = 3 * np.outer([1, 0, -1], [1, -1, -1, 1])  # 72 in all, 6 degrees of freedom
    interval = crossed_interval(5 + np.add.outer(rows, columns) + residuals)
    reach = stats.t.ppf(0.975, freedom) * variance**0.5
    assert vars(interval) == pytest.approx({"value": 5, "low": 5 - reach, "high": 5 + reach})


@pytest.mark.parametrize(
    "sizes",
    [
        (0.1, 1, 1),
        (0.0, 1, 1),
        (0.3, 0, 1),
        (0.05, 0, 1),
        (0.1, 0.05, 1),
        (0.03, 0.4, 1),
        (0, 0, 1),
    ],
    ids=["all", "images", "seeds", "weak seeds", "both weak", "all alike", "none"],
)
def test_it_holds_the_truth_in_19_of_20_draws(sizes):
    """Spreads of seeds, images and single answers; means over seeds alone miss it more often."""
    draw, (of_seeds, of_images, single), hits = np.random.default_rng(0), sizes, np.zeros(2)
    for _ in range(500):
        gaps = draw.normal(0, of_seeds, (5, 1)) + draw.normal(0, of_images, 300)
        gaps = gaps + draw.normal(0, single, (5, 300))
        whole = crossed_interval(gaps)
        means = gaps.mean(1)
        low, high = stats.t.interval(0.95, 4, means.mean(), stats.sem(means))
        hits += [whole.low < 0 < whole.high, low < 0 < high]
    assert hits[0] >= 465  # 475 less two deviations
    if of_seeds and of_images:
        assert hits[0] <= 485  # it is no wider than it has to be
    if of_images == 1:
        assert hits[1] < hits[0] - 15


def test_equal_values_leave_no_doubt():
    assert crossed_interval(np.full((3, 4), 2.0)) == Interval(2.0, 2.0, 2.0)


@pytest.mark.parametrize("values", [[[1.0, 2.0]], [[1.0], [2.0]], [1.0, 2.0], 3.0])
def test_one_seed_or_one_image_has_no_interval(values):
    with pytest.raises(LabError, match="an interval of"):
        crossed_interval(values)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.zeros((2, 3, 4)), "of 2 x 3 x 4 values"),
        ([[1, 2], [3, np.nan]], "some are NaN or infinite"),
        ([[1, 2], [3, -np.inf]], "some are NaN or infinite"),
        ([[1, 2], [3]], "no table of numbers"),
        ([["a", "b"], ["c", "d"]], "no table of numbers"),
    ],
)
def test_what_is_no_table_of_numbers_has_no_interval(values, said):
    with pytest.raises(LabError, match=said):
        crossed_interval(values)
