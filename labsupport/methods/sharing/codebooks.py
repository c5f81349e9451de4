"""Codebooks: the weights of a layer sorted into groups by k-means, a centroid for each."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral

import numpy as np
from numpy.typing import NDArray

from labsupport.core.errors import LabError

Values = NDArray[np.float64]
Codes = NDArray[np.int64]
MOST_STEPS = 100_000  # of k-means, which ends by itself long before
Start = Callable[[Values, int], Values]  # the first centroids of some values, so many of them


def linear(values: Values, number: int) -> Values:
    """First centroids in equal steps from the smallest value to the largest.

    Few large weights matter more than many small ones, and these get centroids of their own: the
    choice of Han et al. 2016, "Deep compression", section 3.2.
    """
    return np.linspace(values.min(), values.max(), number)


def density(values: Values, number: int) -> Values:
    """First centroids at equal steps of the distribution: most of them where most values are."""
    return np.quantile(values, (np.arange(number) + 0.5) / number)


def at_random(seed: int) -> Start:
    """First centroids that are values drawn from a seed (Forgy), no two of them the same.

    Raises LabError for a seed that is no whole number from 0 on: None would draw others each time.
    """
    if not _is_whole(seed, 0):
        raise LabError(f"a seed of {seed!r}", "give a whole number from 0 on")

    def start(values: Values, number: int) -> Values:
        return np.random.default_rng(seed).choice(np.unique(values), number, replace=False)

    return start


def cluster(values: Values, number: int, start: Start = linear) -> tuple[Values, Codes]:
    """At most so many centroids (ascending), and for each value the place of the nearest.

    Values with no more than `number` distinct ones among them are their own centroids. Raises
    LabError for less than one centroid, and for values that are not finite or no row of an array.
    """
    _check(values, number)
    distinct, places = np.unique(values, return_inverse=True)
    if len(distinct) <= number:
        return distinct, places
    from sklearn.cluster import KMeans

    first = start(values, number)[:, None]
    # A tolerance of zero: until no value changes its centroid.
    found = KMeans(number, init=first, n_init=1, tol=0, max_iter=MOST_STEPS).fit(values[:, None])
    centroids = np.sort(found.cluster_centers_[:, 0])
    borders = (centroids[1:] + centroids[:-1]) / 2
    return centroids, np.searchsorted(borders, values)


def _is_whole(number: object, least: int) -> bool:
    return isinstance(number, Integral) and int(number) >= least


def _check(values: Values, number: int) -> None:
    if not _is_whole(number, 1):
        raise LabError(f"{number!r} centroids", "give a whole number, at least one")
    if np.ndim(values) != 1 or not np.isfinite(values).all():
        problem = "values for centroids that are not finite, or no row"
        raise LabError(problem, "give a flat array, and look at where the values come from")
