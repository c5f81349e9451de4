"""The figures that several labs draw: images, curves, confusion, latency sample by sample."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from labsupport.measure.latency import moving
from labsupport.plots.style import PAGE


def image_grid(images: Tensor, titles: Sequence[str], columns: int = 10) -> Figure:
    """Images (N, C, H, W) with values in [0, 1] in rows of `columns`, each under its title."""
    rows = -(-len(images) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(0.95 * columns, 1.15 * rows), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, image, title in zip(axes.flat, images, titles, strict=False):
        pixels = image.permute(1, 2, 0).squeeze(-1).clamp(0, 1).cpu().numpy()
        axis.imshow(pixels, vmin=0, vmax=1)
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
    axes[0].set(yscale="log", ylabel="loss (log scale)")
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
    n = len(classes)
    counts = torch.bincount(n * truth + predicted, minlength=n * n).view(n, n).cpu().numpy()
    errors = np.where(np.eye(len(classes), dtype=bool), 0, counts)
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
