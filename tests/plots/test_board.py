"""The scoreboard's figures: every row has its mark, at its place."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from labsupport.plots import board


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def points_of(figure):
    """The places of all marks."""
    return np.concatenate([marks.get_offsets() for marks in figure.axes[0].collections])


def test_each_network_is_drawn_by_what_it_saves_and_how_fast_it_is():
    table = pd.DataFrame({"saved": [2.0, 10.0], "fast": [3.0, 0.5]})
    table = table.assign(family=["a", "b"], runtime="torch")
    figure = board.paper_and_clock(table, "fast", "saved")
    np.testing.assert_allclose(points_of(figure), table[["saved", "fast"]])
    assert figure.axes[0].get_xscale() == figure.axes[0].get_yscale() == "log"


def test_without_a_network_the_lines_alone_are_drawn():
    table = pd.DataFrame(columns=["saved", "fast", "family", "runtime"])
    figure = board.paper_and_clock(table, "fast", "saved")
    assert len(figure.axes[0].lines) == 2
    figure.canvas.draw()


def test_a_labs_claims_are_numbered_and_every_verdict_has_a_mark():
    claims = pd.DataFrame({"lab": ["01", "02", "02"], "verdict": ["holds", "reported", "holds"]})
    figure = board.verdict_grid(claims)
    assert sorted(points_of(figure)[:, 0]) == [1, 1, 2]
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert labels == list(board.VERDICTS)


@pytest.mark.parametrize("rows", [0, 2])
def test_a_sources_figure_stands_beside_ours(rows):
    stated = pd.DataFrame({"id": ["a", "b"], "figure": [2.0, 50.0], "measured": [4.0, 5.0]})[:rows]
    figure = board.beside_sources(stated)
    source, ours = figure.axes[0].collections
    assert source.get_offsets()[:, 0].tolist() == [2, 50][:rows]
    assert ours.get_offsets()[:, 0].tolist() == [4, 5][:rows]
    assert len(figure.axes[0].lines) == 1 + rows
    figure.canvas.draw()
