"""Figures in one style.

Interactive charts are in `labsupport.plots.interactive`: Altair takes seconds to be imported.
"""

from labsupport.plots.accuracy_axis import percent_axis
from labsupport.plots.figures import (
    band,
    confusion,
    image_grid,
    latency_trace,
    map_grid,
    training_curves,
)
from labsupport.plots.style import COLUMN, PAGE, use_style
from labsupport.plots.sweeps import tradeoffs

__all__ = [
    "COLUMN",
    "PAGE",
    "band",
    "confusion",
    "image_grid",
    "latency_trace",
    "map_grid",
    "percent_axis",
    "tradeoffs",
    "training_curves",
    "use_style",
]
