"""Figures in one style, and the interactive view of a front."""

from labsupport.plots.figures import (
    band,
    confusion,
    image_grid,
    latency_trace,
    map_grid,
    training_curves,
)
from labsupport.plots.front_view import FrontView, front_view
from labsupport.plots.style import COLUMN, PAGE, percent_axis, use_style
from labsupport.plots.sweeps import tradeoffs

__all__ = [
    "COLUMN",
    "PAGE",
    "FrontView",
    "band",
    "confusion",
    "front_view",
    "image_grid",
    "latency_trace",
    "map_grid",
    "percent_axis",
    "tradeoffs",
    "training_curves",
    "use_style",
]
