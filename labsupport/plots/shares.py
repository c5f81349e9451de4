"""How accuracies are drawn: as log-odds, so that 90, 99 and 99.9 % are equally far apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit

from labsupport.plots.ticks import round_values

EDGE = 0.0005  # nearer than this to 0 or 1, which are infinitely far, the scale goes on straight
SLOPE = 1 / (EDGE * (1 - EDGE))  # of the log-odds there
FAR = float(logit(1 - EDGE))
USUAL = (
    *(0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9),
    *(0.95, 0.97, 0.98, 0.99, 0.995, 0.997, 0.998, 0.999, 1.0),
)
FINE = (
    *(0.01, 0.02, 0.03, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5),
    *(0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.92, 0.94, 0.96, 0.97, 0.98, 0.99),
)


def log_odds(share: ArrayLike) -> NDArray[np.float64]:
    """Log-odds of shares; beyond EDGE their tangent, so that nothing and all have a place."""
    share = np.asarray(share, dtype=float)
    inside = np.clip(share, EDGE, 1 - EDGE)
    return np.asarray(logit(inside) + SLOPE * (share - inside))


def from_log_odds(place: ArrayLike) -> NDArray[np.float64]:
    """The inverse of `log_odds`."""
    place = np.asarray(place, dtype=float)
    inside = np.clip(place, -FAR, FAR)
    return np.asarray(expit(inside) + (place - inside) / SLOPE)


def ticks(low: float, high: float, most: int = 10) -> list[float]:
    """Shares from low to high to be written at an axis, at most about so many."""
    bounds = max(low, 0.0), min(high, 1.0)
    return round_values(*bounds, USUAL, FINE, scale=lambda s: float(log_odds(s)), most=most)
