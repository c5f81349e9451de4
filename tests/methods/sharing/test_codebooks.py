from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from labsupport.core.errors import LabError
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


@pytest.mark.parametrize("number", [0, -1, 2.5, "2", None])
def test_a_number_of_centroids_that_cannot_be_is_refused(number):
    with pytest.raises(LabError, match=f"{number!r} centroids; give a whole number, at least one"):
        cluster(np.arange(9.0), number)


@pytest.mark.parametrize("values", [np.array([0, 1, np.nan]), np.array([np.inf]), np.ones((2, 2))])
def test_values_without_centroids_are_refused(values):
    with pytest.raises(LabError, match="values for centroids that are not finite, or no row"):
        cluster(values, 2)


@pytest.mark.parametrize("seed", [-1, 1.5, "1", None])
def test_a_seed_that_would_draw_nothing_or_others_each_time_is_refused(seed):
    with pytest.raises(LabError, match=f"a seed of {seed!r}; give a whole number from 0 on"):
        at_random(seed)
