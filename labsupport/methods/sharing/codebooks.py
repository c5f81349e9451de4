"""Codebooks: the weights of a layer sorted into groups by k-means, a centroid for each."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

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
    """First centroids that are values drawn from a seed (Forgy), no two of them the same."""

    def start(values: Values, number: int) -> Values:
        return np.random.default_rng(seed).choice(np.unique(values), number, replace=False)

    return start


def cluster(values: Values, number: int, start: Start = linear) -> tuple[Values, Codes]:
    """At most so many centroids (ascending), and for each value the place of the nearest.

    Values with no more than `number` distinct ones among them are their own centroids.
    """
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
