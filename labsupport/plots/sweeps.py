"""The three plots of a sweep: accuracy, MACs and latency, each against each."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import XAxis, YAxis
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

from labsupport.plots.accuracy_axis import percent_axis

TITLES = {"macs": "MACs", "accuracy": "test accuracy", "latency_b1_ms": "latency, batch 1 (ms)"}


def tradeoffs(
    table: pd.DataFrame, published: pd.DataFrame, *, group: str, label: str | None = None
) -> Figure:
    """Accuracy against MACs, latency against MACs, accuracy against latency, of a sweep.

    `table` has a row per network: variant, seed, macs, accuracy, latency_b1_ms and
    latency_b1_iqr_ms. A point is a variant's mean over seeds, with a color per value of `group`;
    its bars are the range of accuracies and the interquartile range of latencies. `label` names a
    column that is written beside the points. `published` (macs, accuracy, latency_b1_ms) is gray.
    """
    figure, axes = plt.subplots(1, 3, figsize=(11.0, 4.0))
    planes = (("macs", "accuracy"), ("macs", "latency_b1_ms"), ("latency_b1_ms", "accuracy"))
    points = _variants(table, group, label)
    for axis, (x, y) in zip(axes, planes, strict=True):
        _scale(axis, x, y)
        axis.plot(published[x], published[y], "x", color="0.6", label="published")
        for name, part in points.groupby(group, sort=False):
            _points(axis, part, x, y, str(name))
        if label:
            for row in points.to_dict("records"):
                at = (row[x], row[y])
                axis.annotate(str(row[label]), at, (3, -9), textcoords="offset points", size=7)
        _round_ticks(axis.xaxis, x)
        _round_ticks(axis.yaxis, y)
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=6, fontsize=8
    )
    return figure


def _variants(table: pd.DataFrame, group: str, label: str | None) -> pd.DataFrame:
    """A row per variant: means, and how far the bars reach down and up."""
    by = table.groupby(["variant", group, *([label] if label else [])], sort=False)
    points = by[["macs", "accuracy", "latency_b1_ms", "latency_b1_iqr_ms"]].mean()
    points["accuracy_down"] = points["accuracy"] - by["accuracy"].min()
    points["accuracy_up"] = by["accuracy"].max() - points["accuracy"]
    points["latency_b1_ms_down"] = points["latency_b1_ms_up"] = points["latency_b1_iqr_ms"] / 2
    return points.reset_index()


def _points(axis: Axes, part: pd.DataFrame, x: str, y: str, name: str) -> None:
    part = part.sort_values(x)
    (line,) = axis.plot(part[x], part[y], "o-", markersize=4, linewidth=1, label=name)
    low, high = part[y] - part[f"{y}_down"], part[y] + part[f"{y}_up"]
    # Not errorbar: its caps and groups take seconds for thousands of points.
    axis.vlines(part[x], low, high, color=line.get_color(), linewidth=1)


def _scale(axis: Axes, x: str, y: str) -> None:
    axis.set_xscale("log")
    if y == "accuracy":
        percent_axis(axis)
    else:
        axis.set_yscale("log")
    scale = "log-odds" if y == "accuracy" else "log"
    axis.set(xlabel=f"{TITLES[x]}, log scale", ylabel=f"{TITLES[y]}, {scale} scale")


def _round_ticks(axis: XAxis | YAxis, column: str) -> None:
    """More ticks than powers of ten, where a logarithmic axis has few of them."""
    low, high = sorted(axis.get_view_interval())
    if axis.get_scale() == "log" and high < 30 * low:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(EngFormatter(sep="") if column == "macs" else "{x:g}")
        axis.set_minor_formatter(NullFormatter())
