"""One style, and the figures that several labs draw."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.axis import XAxis, YAxis
from matplotlib.figure import Figure
from matplotlib.ticker import (
    EngFormatter,
    FuncFormatter,
    Locator,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    NullLocator,
)
from torch import Tensor

from labsupport.measure.latency import moving

DPI = 80
COLUMN = (5.0, 3.4)
PAGE = (10.0, 3.4)


def use_style() -> None:
    """Set the labs' style: colorblind-safe, small files, sharp pixels, light grid."""
    sns.set_theme(context="notebook", style="ticks", palette="colorblind", font_scale=0.9)
    plt.rcParams.update(
        {
            "figure.dpi": DPI,
            "savefig.dpi": DPI,
            "figure.constrained_layout.use": True,
            "image.interpolation": "nearest",
            "image.cmap": "gray",
            "axes.grid": True,
            "grid.alpha": 0.3,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "legend.frameon": False,
            "axes.titlesize": "medium",
        }
    )


def image_grid(images: Tensor, titles: Sequence[str], columns: int = 10) -> Figure:
    """Images (N, C, H, W) with values in [0, 1] in rows of `columns`, each under its title."""
    rows = -(-len(images) // columns)
    size = (columns * 0.95, rows * 1.15)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, image, title in zip(axes.flat, images, titles, strict=False):
        axis.imshow(image.permute(1, 2, 0).squeeze(-1).clamp(0, 1).cpu(), vmin=0, vmax=1)
        axis.set_title(title, fontsize=9)
    return figure


def map_grid(maps: Tensor, titles: Sequence[str], columns: int = 8) -> Figure:
    """Feature maps or filters (N, H, W), each scaled to its own range, dark is low."""
    low = maps.amin((1, 2), keepdim=True)
    span = (maps.amax((1, 2), keepdim=True) - low).clamp_min(1e-12)
    return image_grid(((maps - low) / span).unsqueeze(1), titles, columns)


def training_curves(history: pd.DataFrame, test_accuracy: float | None = None) -> Figure:
    """Loss and accuracy per epoch: mean over seeds with the range between the extremes shaded.

    `history` is a fit's history with a column `seed`. A dashed line marks the test accuracy.
    """
    figure, axes = plt.subplots(1, 2, figsize=PAGE)
    for axis, quantity in zip(axes, ("loss", "accuracy"), strict=True):
        for part, label, style in (("train", "training", "--"), ("val", "validation", "-")):
            band(axis, history, "epoch", f"{part}_{quantity}", label, style)
        axis.set(xlabel="epoch", ylabel=quantity)
        axis.xaxis.get_major_locator().set_params(integer=True)
    axes[0].set_yscale("log")
    if test_accuracy is not None:
        axes[1].axhline(test_accuracy, color="0.4", linewidth=1, linestyle=":", label="test, once")
    axes[1].legend(loc="lower right")
    return figure


def band(axis: Axes, frame: pd.DataFrame, x: str, y: str, label: str, linestyle: str = "-") -> None:
    """A line through the mean of `y` at each `x`, the range from lowest to highest shaded."""
    grouped = frame.groupby(x)[y]
    mean = grouped.mean()
    (line,) = axis.plot(mean.index, mean, linestyle, marker="o", markersize=3, label=label)
    axis.fill_between(mean.index, grouped.min(), grouped.max(), color=line.get_color(), alpha=0.2)


def confusion(predicted: Tensor, truth: Tensor, classes: Sequence[str]) -> Figure:
    """Confusion matrix: a row per true class, counts off the diagonal in color."""
    size = len(classes)
    counts = np.zeros((size, size), dtype=int)
    np.add.at(counts, (truth.cpu().numpy(), predicted.cpu().numpy()), 1)
    errors = counts * (1 - np.eye(size, dtype=int))
    figure, axis = plt.subplots(figsize=(4.6, 4.0))
    sns.heatmap(
        errors, annot=counts, fmt="d", cmap="rocket_r", cbar=False, square=True,
        xticklabels=classes, yticklabels=classes, annot_kws={"fontsize": 7}, ax=axis,
    )  # fmt: skip
    axis.set(xlabel="predicted", ylabel="true")
    return figure


def latency_trace(trace: pd.DataFrame, window: int = 100) -> Figure:
    """Per-sample latency in order: moving average over `window` samples, one deviation shaded.

    `trace` has the columns sample, latency_ms and name; one panel per name, y axis shared.
    """
    names = list(dict.fromkeys(trace["name"]))
    figure, axes = plt.subplots(1, len(names), figsize=PAGE, sharey=True, squeeze=False)
    for axis, name in zip(axes.flat, names, strict=True):
        part = trace[trace["name"] == name]
        rolled = moving(part, window)
        low, high = rolled["mean_ms"] - rolled["std_ms"], rolled["mean_ms"] + rolled["std_ms"]
        (line,) = axis.plot(rolled["sample"], rolled["mean_ms"], linewidth=1)
        axis.fill_between(rolled["sample"], low, high, color=line.get_color(), alpha=0.25)
        axis.set(title=name, xlabel="sample")
    axes[0, 0].set_ylabel(f"latency, mean of {window} (ms)")
    return figure


def tradeoffs(
    table: pd.DataFrame,
    published: pd.DataFrame,
    *,
    group: str,
    label: str | None = None,
    fmt: str = "o-",
) -> Figure:
    """Accuracy against MACs, latency against MACs, accuracy against latency, of a sweep.

    `table` has a row per network: variant, seed, macs, accuracy, latency_b1_ms and
    latency_b1_iqr_ms. A point is a variant's mean over seeds, with a color per value of `group`;
    its bars are the range of accuracies and the interquartile range of latencies. `label` names a
    column that is written beside the points, `fmt` is matplotlib's. `published` (macs, accuracy,
    latency_b1_ms) is drawn in gray.
    """
    figure, axes = plt.subplots(1, 3, figsize=(11.0, 4.0))
    planes = (("macs", "accuracy"), ("macs", "latency_b1_ms"), ("latency_b1_ms", "accuracy"))
    points = _variants(table, group, label)
    for axis, (x, y) in zip(axes, planes, strict=True):
        _scale(axis, x, y)
        axis.plot(published[x], published[y], "x", color="0.6", label="published")
        for name, part in points.groupby(group, sort=False):
            _points(axis, part, x, y, fmt, str(name))
        if label:
            for row in points.to_dict("records"):
                at = (row[x], row[y])
                axis.annotate(str(row[label]), at, (3, -9), textcoords="offset points", size=7)
        _round_ticks(axis.xaxis, x)
        _round_ticks(axis.yaxis, y)
    names = axes[0].get_legend_handles_labels()
    figure.legend(*names, loc="outside lower center", ncols=6, fontsize=8)
    return figure


TITLES = {"macs": "MACs", "accuracy": "test accuracy", "latency_b1_ms": "latency, batch 1 (ms)"}


def percent_axis(axis: Axes) -> None:
    """A y axis for accuracies, in percent: 90, 99 and 99.9 are equally far apart."""
    axis.set_yscale("logit")
    axis.yaxis.set_major_locator(Shares())
    axis.yaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))


class Shares(Locator):
    """Ticks at round shares; where few of them are in view, at evenly spaced ones."""

    USUAL = (0.1, 0.2, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999)

    def __call__(self) -> list[float]:
        """The ticks in view."""
        low, high = sorted(self.axis.get_view_interval())  # type: ignore[union-attr]
        return self.tick_values(low, high)

    def tick_values(self, vmin: float, vmax: float) -> list[float]:
        """The ticks from vmin to vmax."""
        inside = [share for share in self.USUAL if vmin <= share <= vmax]
        return inside if len(inside) > 3 else list(MaxNLocator(5).tick_values(vmin, vmax))


def _variants(table: pd.DataFrame, group: str, label: str | None) -> pd.DataFrame:
    """A row per variant: means, and how far the bars reach down and up."""
    by = table.groupby(["variant", group, *([label] if label else [])], sort=False)
    points = by[["macs", "accuracy", "latency_b1_ms", "latency_b1_iqr_ms"]].mean()
    points["accuracy_down"] = points["accuracy"] - by["accuracy"].min()
    points["accuracy_up"] = by["accuracy"].max() - points["accuracy"]
    points["latency_b1_ms_down"] = points["latency_b1_ms_up"] = points["latency_b1_iqr_ms"] / 2
    return points.reset_index()


def _points(axis: Axes, part: pd.DataFrame, x: str, y: str, fmt: str, name: str) -> None:
    part = part.sort_values(x)
    (line,) = axis.plot(part[x], part[y], fmt, markersize=4, linewidth=1, label=name)
    low, high = part[y] - part[f"{y}_down"], part[y] + part[f"{y}_up"]
    # Not errorbar: its caps and groups take seconds for thousands of points.
    axis.vlines(part[x], low, high, color=line.get_color(), linewidth=1)


def _scale(axis: Axes, x: str, y: str) -> None:
    axis.set_xscale("log")
    if y == "accuracy":
        percent_axis(axis)
    else:
        axis.set_yscale("log")
    axis.set(xlabel=TITLES[x], ylabel=TITLES[y])


def _round_ticks(axis: XAxis | YAxis, column: str) -> None:
    """More ticks than powers of ten, where a logarithmic axis has few of them."""
    low, high = sorted(axis.get_view_interval())
    if axis.get_scale() == "log" and high < 30 * low:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(EngFormatter(sep="") if column == "macs" else "{x:g}")
        axis.set_minor_formatter(NullFormatter())
