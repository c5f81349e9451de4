"""Roofs by hand, and what of a machine they are made of."""

import pandas as pd
import pytest
from torch.nn import functional as F

from labsupport.measure import peaks as module
from labsupport.measure.clocking import Clocking
from labsupport.measure.peaks import Peaks, machine_peaks

COLUMNS = ["name", "round", "ns"]


def test_the_roof_is_the_lower_of_the_two():
    peaks = Peaks(gmacs_per_s_clocked=100, streams_clocked={10**6: 20})
    assert peaks.ridge() == 5
    assert [peaks.roof_gmacs(intensity) for intensity in (0.5, 5, 50)] == [10, 100, 100]


def test_what_fits_in_a_cache_has_a_steeper_roof():
    # The shortest stream is mostly call; the cache holds 2000 bytes.
    peaks = Peaks(100, {1000: 30, 2000: 80, 4000: 25, 8000: 20})
    slopes = [peaks.gbytes_per_s(moved) for moved in (10, 1000, 3999, 4000, 7999, 10**9)]
    assert slopes == [80, 80, 80, 25, 25, 20]
    assert peaks.gbytes_per_s() == 20
    assert [peaks.roof_gmacs(1, moved) for moved in (1000, 8000)] == [80, 20]
    assert [peaks.ridge(moved) for moved in (1000, 8000)] == [1.25, 5]


def all_in_microseconds(calls, **_):
    """A clocking in which the best call of everything takes a microsecond."""
    return Clocking(
        pd.DataFrame([(n, 0, ns) for n in calls for ns in (5000, 1000)], columns=COLUMNS), {}
    )


def test_peaks_are_work_over_the_best_time(monkeypatch):
    layers = ((F.linear, (10, 10), (10, 10)), (F.conv2d, (1, 5, 6, 6), (10, 5, 2, 2)))
    monkeypatch.setattr(module, "LAYERS", layers)
    monkeypatch.setattr(module, "STREAMS", (4000, 8000))
    monkeypatch.setattr(module, "clock_calls", all_in_microseconds)
    peaks = machine_peaks()
    assert peaks.gmacs_per_s_clocked == pytest.approx(5 * 5 * 10 * 5 * 4 / 1000)  # more than 1000
    assert peaks.streams_clocked == pytest.approx({4000: 4, 8000: 8})


def test_peaks_of_this_machine_are_positive(monkeypatch):
    monkeypatch.setattr(module, "LAYERS", ((F.linear, (64, 64), (64, 64)),))
    monkeypatch.setattr(module, "STREAMS", (4096, 8192))
    peaks = machine_peaks(rounds=1)
    assert min(peaks.gmacs_per_s_clocked, *peaks.streams_clocked.values()) > 0
