import matplotlib.pyplot as plt
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logit

from labsupport import plots
from labsupport.plots.accuracy_axis import EDGE, accuracy_ticks, from_log_odds, log_odds


@given(st.floats(EDGE, 1 - EDGE))
def test_inside_the_edges_it_is_the_logit(share):
    assert log_odds(share) == pytest.approx(logit(share))


@given(st.floats(0, 1), st.floats(0, 1))
def test_it_rises_from_nothing_to_all_and_back(one, other):
    low, high = sorted((one, other))
    assert log_odds(low) <= log_odds(high)
    assert from_log_odds(log_odds(one)) == pytest.approx(one, abs=1e-12)
    assert log_odds(1 - one) == pytest.approx(-log_odds(one), abs=1e-6)


def test_all_stands_above_the_nines_and_nothing_below():
    np.testing.assert_allclose(log_odds([0, 1]), [-8.6, 8.6], atol=0.01)


@given(st.floats(0, 0.999), st.floats(0.001, 1))
def test_ticks_are_some_shares_in_view_and_none_in_each_others_way(low, width):
    high = min(1.0, low + width)
    found = accuracy_ticks(low, high)
    assert all(low <= tick <= high for tick in found)
    gaps = np.diff(log_odds(found))
    assert (gaps > 0).all()
    assert len(found) <= 11
    if len(gaps) > 1:  # no part of the axis is left without
        assert max(gaps) < 0.75 * (log_odds(high) - log_odds(low))


def test_the_percent_axis_spreads_the_nines():
    figure, axis = plt.subplots()
    plots.percent_axis(axis)
    axis.plot([0, 1, 2], [0.9, 0.99, 0.999])
    figure.draw_without_rendering()
    low, middle, high = axis.transData.transform([(0, 0.9), (0, 0.99), (0, 0.999)])[:, 1]
    assert high - middle == pytest.approx(middle - low, rel=0.05)
    assert "99\N{NO-BREAK SPACE}%" in [text.get_text() for text in axis.get_yticklabels()]
    plt.close(figure)


@pytest.mark.parametrize(("low", "high"), [(0.81, 0.93), (0.3, 0.96), (0.981, 0.988)])
def test_an_axis_of_accuracies_has_ticks_enough_and_not_too_many(low, high):
    figure, axis = plt.subplots()
    plots.percent_axis(axis)
    axis.plot([0, 1], [low, high])
    figure.draw_without_rendering()
    bottom, top = axis.get_ylim()
    seen = [tick for tick in axis.get_yticks() if bottom <= tick <= top]
    assert 3 <= len(seen) <= 8
    plt.close(figure)


def test_points_of_all_and_nothing_are_in_view():
    figure, axis = plt.subplots()
    plots.percent_axis(axis)
    axis.plot([0, 1, 2, 3], [0.0, 0.9, 0.99, 1.0], "o")
    figure.draw_without_rendering()
    places = axis.transAxes.inverted().transform(
        axis.transData.transform([(0, share) for share in (0.0, 0.9, 0.99, 1.0)])
    )[:, 1]
    assert (np.diff(places) > 0).all()
    assert 0.01 < places[0] < places[-1] < 0.99
    plt.close(figure)
