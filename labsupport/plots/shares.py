"""How accuracies are drawn: as log-odds, so that 90, 99 and 99.9 % are equally far apart."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit

EDGE = 0.0005  # nearer than this to 0 or 1, which are infinitely far, the scale goes on straight
SLOPE = 1 / (EDGE * (1 - EDGE))  # of the log-odds there
FAR = float(logit(1 - EDGE))
USUAL = (
    *(0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9),
    *(0.95, 0.97, 0.98, 0.99, 0.995, 0.997, 0.998, 0.999, 1.0),
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
    """Round shares from low to high, at most about so many: usual ones, or, of few, even ones."""
    inside = [share for share in USUAL if low <= share <= high]
    if len(inside) < 4:
        even = MaxNLocator(6).tick_values(low, high)
        inside = [share for share in map(float, even) if low <= share <= high and 0 <= share <= 1]
    return _spaced(inside, float(log_odds(high) - log_odds(low)) / most)


def _spaced(shares: Iterable[float], gap: float) -> list[float]:
    """Those of rising shares that are at least `gap` of log-odds above the one before."""
    kept: list[float] = []
    for share in shares:
        if not kept or log_odds(share) - log_odds(kept[-1]) >= gap:
            kept.append(share)
    return kept
