"""The clocked columns of a scorecard, from times that are known."""

import pandas as pd
import pytest

from labsupport.core.errors import LabError
from labsupport.measure.cards import clocked_columns
from labsupport.measure.clocking import Clocking, Turn
from labsupport.records.scorecard import COLUMNS


def clocked(**times_ms):
    """A clocking in which each name took these times, one per round."""
    rows = [
        (name, round_, int(ms * 1e6))
        for name, times in times_ms.items()
        for round_, ms in enumerate(times)
    ]
    turns = {name: Turn(lambda: None) for name in times_ms}
    return Clocking(pd.DataFrame(rows, columns=["name", "round", "ns"]), turns)


# Sorted 2 3 4 5 9: quartiles 3 and 5. Even rounds 4 2 5, odd rounds 9 3: medians 4 and 6.
TIMES = (4, 9, 2, 3, 5)


def test_median_spread_and_noise_of_a_call():
    clocking = clocked(other=(100,) * 5, net=TIMES)
    assert clocked_columns(clocking, "net", "large") == {
        "latency_large_ms": 4,
        "latency_large_iqr_ms": 2,
        "latency_large_noise_ms": 2,
    }


def test_a_call_of_many_images_counts_for_one():
    assert clocked_columns(clocked(net=TIMES), "net", "b1", images=4) == {
        "latency_b1_ms": 1,
        "latency_b1_iqr_ms": 0.5,
        "latency_b1_noise_ms": 0.5,
    }


@pytest.mark.parametrize("size", ["b1", "large"])
def test_the_columns_are_those_of_the_scorecard(size):
    assert clocked_columns(clocked(net=TIMES), "net", size).keys() <= set(COLUMNS)


def test_a_name_that_was_not_clocked_is_explained():
    with pytest.raises(LabError, match="'rival' was not clocked"):
        clocked_columns(clocked(net=TIMES), "rival", "b1")
