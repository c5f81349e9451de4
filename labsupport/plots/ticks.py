"""Which values are written at an axis."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from matplotlib.ticker import MaxNLocator

FEW = 4


def round_values(
    low: float,
    high: float,
    *choices: Iterable[float],
    scale: Callable[[float], float],
    most: int,
) -> list[float]:
    """Round values from low to high, rising, at most about `most` of them, but at least one.

    The first of `choices` that has enough of them in view; failing that, evenly spaced values or
    the richest choice. `scale` is the axis's: on it no two are closer than a `most`-th of the view.
    """
    even = MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(low, high)
    gap = (scale(high) - scale(low)) / most
    found = []
    for choice in (*choices, even):
        inside = [float(value) for value in choice if low <= value <= high]
        found.append(_spaced(inside, scale, gap))
    return next((ticks for ticks in found if len(ticks) >= FEW), max(found, key=len)) or [low]


def _spaced(values: Iterable[float], scale: Callable[[float], float], gap: float) -> list[float]:
    """Those of rising values that are at least `gap` above the one before, as scaled."""
    kept: list[float] = []
    for value in values:
        if not kept or scale(value) - scale(kept[-1]) >= gap:
            kept.append(value)
    return kept
