"""One style for all figures: sizes, colors, and the axis for accuracies."""

from __future__ import annotations

import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, Locator, NullLocator

from labsupport.plots.shares import from_log_odds, log_odds, ticks

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


def percent_axis(axis: Axes) -> None:
    """A y axis for accuracies, in percent: 90, 99 and 99.9 are equally far apart."""
    axis.set_yscale("function", functions=(log_odds, from_log_odds))
    axis.yaxis.set_major_locator(Shares())
    axis.yaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.4g} %"))


class Shares(Locator):
    """Ticks at round shares."""

    def __call__(self) -> list[float]:
        """The ticks in view."""
        low, high = sorted(self.axis.get_view_interval())  # type: ignore[union-attr]
        return self.tick_values(low, high)

    def tick_values(self, vmin: float, vmax: float) -> list[float]:
        """The ticks from vmin to vmax."""
        return ticks(vmin, vmax)
