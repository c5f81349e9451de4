import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
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


@pytest.fixture
def closing():
    yield
    plt.close("all")


def test_images_stand_in_rows_under_their_titles(closing):
    figure = plots.image_grid(torch.rand(5, 1, 4, 4), [f"digit {n}" for n in range(5)], columns=3)
    assert [axis.get_title() for axis in figure.axes] == [f"digit {n}" for n in range(5)] + [""]
    assert [len(axis.images) for axis in figure.axes] == [1] * 5 + [0]


def test_each_map_is_scaled_to_its_own_range(closing):
    maps = torch.tensor([1.0, 1000.0]).view(2, 1, 1) * torch.arange(4.0).view(1, 2, 2)
    first, second = (axis.images[0].get_array() for axis in plots.map_grid(maps, "ab", 2).axes)
    np.testing.assert_allclose(first, second)
    assert (first.min(), first.max()) == (0, 1)


def test_the_confusion_counts_images_by_true_and_predicted_class(closing):
    truth, predicted = torch.tensor([0, 0, 0, 1, 2]), torch.tensor([0, 1, 1, 1, 0])
    (axis,) = plots.confusion(predicted, truth, ["a", "b", "c"]).axes
    counts = [int(text.get_text()) for text in axis.texts]
    assert counts == [1, 2, 0, 0, 1, 0, 1, 0, 0]
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("predicted", "true")


def test_training_curves_go_through_the_means_of_the_seeds(closing):
    history = pd.DataFrame(
        {"epoch": [1, 2] * 2, "seed": [0, 0, 1, 1]}
        | {f"{part}_loss": [4.0, 2.0, 2.0, 1.0] for part in ("train", "val")}
        | {f"{part}_accuracy": [0.5, 0.7, 0.7, 0.9] for part in ("train", "val")}
    )
    loss, accuracy = plots.training_curves(history, test_accuracy=0.75).axes
    np.testing.assert_allclose(loss.lines[0].get_ydata(), [3, 1.5])
    np.testing.assert_allclose(accuracy.lines[1].get_ydata(), [0.6, 0.8])
    assert "test, once" in [text.get_text() for text in accuracy.get_legend().get_texts()]


def test_the_latency_of_constant_samples_is_a_flat_line(closing):
    trace = pd.DataFrame({"sample": range(200), "latency_ms": 2.0, "name": "net"})
    (axis,) = plots.latency_trace(trace, window=50).axes
    heights = np.asarray(axis.lines[0].get_ydata(), dtype=float)
    np.testing.assert_allclose(heights[~np.isnan(heights)], 2)
    assert axis.get_title() == "net"
