"""Figures of the scoreboard: savings on paper and on the clock, claims, and sources."""

from __future__ import annotations

import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from labsupport.plots.style import COLUMN

VERDICTS = {"holds": "C2", "does not hold": "C3", "reported": "0.75", "not measured": "0.5"}
MARKERS = dict(zip(VERDICTS, "oXsv", strict=True))


def paper_and_clock(scores: pd.DataFrame, speed: str, saved: str) -> Figure:
    """How many times as fast each network is against how many times fewer operations it takes.

    On the gray line both are the same; below the dotted one time is lost. Colors are families.
    """
    figure, axis = plt.subplots()
    sns.scatterplot(scores, x=saved, y=speed, hue="family", style="runtime", s=60, ax=axis)
    axis.axline((1, 1), (2, 2), color="0.5")
    axis.axhline(1, color="0.5", linestyle=":")
    axis.set(xscale="log", yscale="log", xlabel="times fewer operations (log scale)")
    axis.set_ylabel("times as fast (log scale)")
    if axis.get_legend():  # there is none without a network
        sns.move_legend(axis, "upper left", bbox_to_anchor=(1, 1))
    return figure


def verdict_grid(claims: pd.DataFrame) -> Figure:
    """A mark for each claim, a line of them for each lab; color and form say the verdict."""
    figure, axis = plt.subplots()
    numbered = claims.assign(number=claims.groupby("lab").cumcount() + 1)
    marks = {"hue": "verdict", "style": "verdict", "palette": VERDICTS, "markers": MARKERS}
    order = {"hue_order": [*VERDICTS], "style_order": [*VERDICTS]}
    sns.scatterplot(numbered, x="number", y="lab", **marks, **order, s=70, ax=axis)
    axis.set(xlabel="claim", ylabel="")
    sns.move_legend(axis, "upper left", bbox_to_anchor=(1, 1))
    return figure


def beside_sources(stated: pd.DataFrame) -> Figure:
    """A source's figure, in gray, and ours for each claim, on a logarithmic axis; 1 is dotted."""
    figure, axis = plt.subplots(figsize=(1.2 * COLUMN[0], COLUMN[1]))
    axis.axvline(1, color="0.5", linestyle=":")
    for id, *ends in stated[["id", "figure", "measured"]].itertuples(index=False):
        axis.plot(ends, [id, id], color="0.8")
    axis.scatter(stated["figure"], stated["id"], color="0.5", zorder=2, label="the source")
    axis.scatter(stated["measured"], stated["id"], color="C0", zorder=2, label="this course")
    axis.set(xscale="log", xlabel="times (log scale)")
    axis.legend(loc="lower right")
    return figure
