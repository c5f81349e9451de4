from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from labsupport.methods.sharing.codebooks import at_random, cluster, density, linear

STARTS = {"linear": linear, "density": density, "random": at_random(3)}
VALUES = arrays(np.float64, st.integers(1, 40), elements=st.integers(-300, 300).map(float))


def error(values, centroids):
    return np.square(values[:, None] - centroids).min(1).sum()


@settings(max_examples=30)
@given(values=VALUES, number=st.integers(1, 5), start=st.sampled_from(sorted(STARTS)))
def test_values_have_their_nearest_centroid_which_is_their_mean(values, number, start):
    centroids, codes = cluster(values, number, STARTS[start])
    assert len(centroids) <= number
    assert (np.diff(centroids) > 0).all()
    assert error(values, centroids) == pytest.approx(np.square(values - centroids[codes]).sum())
    for code, centroid in enumerate(centroids):
        assert values[codes == code].mean() == pytest.approx(centroid, abs=1e-9)


@settings(max_examples=30)
@given(values=VALUES)
def test_few_values_are_their_own_centroids(values):
    centroids, codes = cluster(values, len(values))
    assert (centroids[codes] == values).all()


@pytest.mark.parametrize("start", ["linear", "density"])  # by chance it may end elsewhere
def test_clusters_far_apart_are_found(start):
    values = np.array([0, 1, 2, 100, 101, 102, 200, 201, 202.0])
    found, _ = cluster(values, 3, STARTS[start])
    # By brute force: the best cuts of the ascending values.
    best = min(
        ([part.mean() for part in np.split(values, cuts)] for cuts in combinations(range(1, 9), 2)),
        key=lambda centroids: error(values, np.array(centroids)),
    )
    assert found == pytest.approx(best)


def test_first_centroids_are_those_of_the_paper():
    values = np.array([0, 0.1, 0.2, 0.3, 10])
    assert linear(values, 3) == pytest.approx([0, 5, 10])
    assert density(values, 5) == pytest.approx(np.quantile(values, [0.1, 0.3, 0.5, 0.7, 0.9]))
    drawn = at_random(0)(values, 5)
    assert sorted(drawn) == pytest.approx(values)
    assert (at_random(0)(values, 5) == drawn).all()


def test_centroids_of_many_values_are_the_means_of_theirs():
    values = np.random.default_rng(0).normal(size=60_000)
    centroids, places = cluster(values, 32)
    means = np.bincount(places, values) / np.bincount(places)
    np.testing.assert_allclose(centroids, means, atol=1e-12)
