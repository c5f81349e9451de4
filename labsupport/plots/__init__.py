"""Figures in one style, and interactive charts."""

from labsupport.plots.accuracy_axis import percent_axis
from labsupport.plots.figures import (
    band,
    confusion,
    image_grid,
    latency_trace,
    map_grid,
    training_curves,
)
from labsupport.plots.interactive import InteractiveChart, budget_slider, interactive_front
from labsupport.plots.style import COLUMN, PAGE, use_style
from labsupport.plots.sweeps import tradeoffs

__all__ = [
    "COLUMN",
    "PAGE",
    "InteractiveChart",
    "band",
    "budget_slider",
    "confusion",
    "image_grid",
    "interactive_front",
    "latency_trace",
    "map_grid",
    "percent_axis",
    "tradeoffs",
    "training_curves",
    "use_style",
]
