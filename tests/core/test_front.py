import math

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from labsupport.core.front import pareto_front

POINT = st.tuples(st.integers(0, 6), st.integers(0, 6))


@given(st.lists(POINT, min_size=1, max_size=12))
def test_the_front_is_what_no_other_point_beats(points):
    table = pd.DataFrame(points, columns=["cost", "gain"])
    front = pareto_front(table, "cost", "gain")
    beaten = {
        (cost, gain)
        for cost, gain in points
        for other in points
        if other != (cost, gain) and other[0] <= cost and other[1] >= gain
    }
    assert set(front[["cost", "gain"]].itertuples(index=False, name=None)) == set(points) - beaten


@given(st.lists(POINT, min_size=1, max_size=12))
def test_along_the_front_cost_and_gain_both_rise(points):
    front = pareto_front(pd.DataFrame(points, columns=["cost", "gain"]), "cost", "gain")
    assert front["cost"].is_monotonic_increasing
    assert front["cost"].is_unique
    assert front["gain"].is_monotonic_increasing
    assert front["gain"].is_unique


def test_of_equal_rows_the_first_is_on_the_front_and_unknown_ones_are_not():
    points = [(2, 0.9), (1, 0.5), (2, 0.9), (1, 0.5), (math.nan, 0.4), (0, math.nan)]
    table = pd.DataFrame(points, columns=["cost", "gain"])
    assert list(pareto_front(table, "cost", "gain").index) == [1, 0]
