import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from labsupport import plots

PUBLISHED = pd.DataFrame({"macs": [5e4], "accuracy": [0.9], "latency_b1_ms": [0.3]})


@pytest.fixture
def table():
    rows = [
        {"variant": f"{kind} {width}", "kind": kind, "width": width, "seed": seed,
         "macs": 100 * width, "accuracy": 0.9 + 0.01 * seed, "latency_b1_ms": width / 9,
         "latency_b1_iqr_ms": 0.2}
        for kind in ("plain", "cured") for width in (8, 16) for seed in (0, 1, 2)
    ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.fixture
def drawn(table):
    figure = plots.tradeoffs(table, PUBLISHED, group="kind", label="width")
    yield figure
    plt.close(figure)


def lines(axis):
    """By group: the line through its points, and the ends (x, low), (x, high) of its bars."""
    drawn = [line for line in axis.get_lines() if line.get_label() != "published"]
    bars = {to_hex(bar.get_color()[0]): bar.get_segments() for bar in axis.collections}
    return {line.get_label(): (line, bars[to_hex(line.get_color())]) for line in drawn}


def test_three_planes_with_a_line_of_means_for_each_group(drawn):
    accuracy_macs, latency_macs, accuracy_latency = drawn.axes
    for axis in drawn.axes:
        assert set(lines(axis)) == {"plain", "cured"}
    line, _ = lines(accuracy_macs)["plain"]
    np.testing.assert_allclose(line.get_xdata(orig=False), [800, 1600])
    np.testing.assert_allclose(line.get_ydata(orig=False), [0.91, 0.91])
    line, _ = lines(accuracy_latency)["plain"]
    np.testing.assert_allclose(line.get_xdata(orig=False), [8 / 9, 16 / 9])
    assert latency_macs.get_yscale() == latency_macs.get_xscale() == "log"


def test_bars_are_the_range_over_seeds_and_the_quartiles_of_the_clock(drawn):
    accuracy_macs, latency_macs, _ = drawn.axes
    _, bars = lines(accuracy_macs)["plain"]
    np.testing.assert_allclose(bars[0], [[800, 0.90], [800, 0.92]])
    _, bars = lines(latency_macs)["plain"]
    np.testing.assert_allclose(bars[0][:, 1], [8 / 9 - 0.1, 8 / 9 + 0.1])


def test_published_points_are_gray_and_named(drawn):
    for axis in drawn.axes:
        (gray,) = [line for line in axis.get_lines() if line.get_label() == "published"]
        assert gray.get_color() == "0.6"
    assert "published" in [text.get_text() for text in drawn.legends[0].get_texts()]


def test_points_are_labeled(drawn):
    assert {text.get_text() for text in drawn.axes[0].texts} == {"8", "16"}
