"""How accuracies are drawn: as log-odds, so that 90, 99 and 99.9 % are equally far apart."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, Locator, MaxNLocator, NullLocator
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit

EDGE = 0.0005  # nearer than this to 0 or 1, which are infinitely far, the scale goes on straight
EDGE_SLOPE = 1 / (EDGE * (1 - EDGE))
EDGE_LOG_ODDS = float(logit(1 - EDGE))
TICKS = (
    *(0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9),
    *(0.95, 0.97, 0.98, 0.99, 0.995, 0.997, 0.998, 0.999, 1.0),
)
FEWEST, MOST = 4, 10  # ticks on an axis


def log_odds(fraction: ArrayLike) -> NDArray[np.float64]:
    """Log-odds of fractions; beyond EDGE their tangent, so that 0 and 1 have a place."""
    fraction = np.asarray(fraction, dtype=float)
    inside = np.clip(fraction, EDGE, 1 - EDGE)
    return np.asarray(logit(inside) + EDGE_SLOPE * (fraction - inside))


def from_log_odds(place: ArrayLike) -> NDArray[np.float64]:
    """The inverse of `log_odds`."""
    place = np.asarray(place, dtype=float)
    inside = np.clip(place, -EDGE_LOG_ODDS, EDGE_LOG_ODDS)
    return np.asarray(expit(inside) + (place - inside) / EDGE_SLOPE)


def accuracy_ticks(low: float, high: float) -> list[float]:
    """Round fractions from low to high to be written at an axis, about MOST of them at most."""
    low, high = max(low, 0.0), min(high, 1.0)
    even = MaxNLocator(8, steps=[1, 2, 5, 10]).tick_values(low, high)
    choices = [
        _spaced([float(tick) for tick in ticks if low <= tick <= high], low, high)
        for ticks in (TICKS, even)
    ]
    enough = (ticks for ticks in choices if len(ticks) >= FEWEST)
    return next(enough, max(choices, key=len)) or [low]


def _spaced(ticks: Iterable[float], low: float, high: float) -> list[float]:
    """Those of rising ticks that are not drawn too near to the one before."""
    gap = float(log_odds(high) - log_odds(low)) / MOST
    kept: list[float] = []
    for tick in ticks:
        if not kept or log_odds(tick) - log_odds(kept[-1]) >= gap:
            kept.append(tick)
    return kept


def percent(fraction: float) -> str:
    """A fraction as a reader wants it: in percent, with four significant digits at most."""
    return f"{100 * fraction:.4g}\N{NO-BREAK SPACE}%"


class AccuracyLocator(Locator):
    """Puts ticks at round fractions."""

    def __call__(self) -> list[float]:
        """The ticks in view."""
        return self.tick_values(*sorted(self.axis.get_view_interval()))  # type: ignore[union-attr]

    def tick_values(self, vmin: float, vmax: float) -> list[float]:
        """The ticks from vmin to vmax."""
        return accuracy_ticks(vmin, vmax)


def percent_axis(axis: Axes) -> None:
    """A y axis for accuracies, in percent: 90, 99 and 99.9 are equally far apart."""
    axis.set_yscale("function", functions=(log_odds, from_log_odds))
    axis.yaxis.set_major_locator(AccuracyLocator())
    axis.yaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_formatter(FuncFormatter(lambda fraction, _: percent(fraction)))
