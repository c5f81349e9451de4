"""Figures in one style.

Interactive charts are in `labsupport.plots.interactive`: Altair takes seconds to be imported.
"""

from labsupport.plots.accuracy_axis import percent_axis as percent_axis
from labsupport.plots.figures import band as band
from labsupport.plots.figures import confusion as confusion
from labsupport.plots.figures import image_grid as image_grid
from labsupport.plots.figures import latency_trace as latency_trace
from labsupport.plots.figures import map_grid as map_grid
from labsupport.plots.figures import training_curves as training_curves
from labsupport.plots.style import COLUMN as COLUMN
from labsupport.plots.style import PAGE as PAGE
from labsupport.plots.style import use_style as use_style
from labsupport.plots.sweeps import tradeoffs as tradeoffs
