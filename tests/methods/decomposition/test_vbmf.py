"""Ranks by variational Bayes against synthetic matrices, iterated updates and known limits."""

import math

import numpy as np
import pytest
import torch

from labsupport.core.errors import LabError
from labsupport.methods.decomposition.vbmf import (
    free_energy,
    noise_variance,
    shrunk,
    smallest_tau,
    threshold,
    vbmf,
)


def noisy(rows, columns, rank, noise, strength=3.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    left = torch.randn(rows, rank, generator=generator, dtype=torch.float64)
    right = torch.randn(rank, columns, generator=generator, dtype=torch.float64)
    error = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    return strength * left @ right / math.sqrt(max(rank, 1)) + noise * error


@pytest.mark.parametrize("shape", [(40, 200), (200, 40), (60, 60)], ids=str)
@pytest.mark.parametrize("rank", [0, 1, 5, 12])
@pytest.mark.parametrize("noise", [0.1, 1.0])
def test_the_rank_and_the_noise_of_a_synthetic_matrix_are_found(shape, rank, noise):
    found = vbmf(noisy(*shape, rank, noise))
    assert found.rank == rank
    assert found.noise_variance == pytest.approx(noise**2, rel=0.12)


def test_a_matrix_and_its_transpose_are_one():
    matrix = noisy(30, 90, 4, 0.7)
    wide, tall = vbmf(matrix), vbmf(matrix.T)
    assert wide.rank == tall.rank == 4
    torch.testing.assert_close(wide.values, tall.values)
    scaled = vbmf(matrix * 1000)
    torch.testing.assert_close(scaled.values, wide.values * 1000, rtol=1e-4, atol=0)


def test_without_noise_or_signal():
    assert vbmf(noisy(30, 50, 3, 0.0)).rank == 3
    assert vbmf(torch.zeros(5, 8)).rank == 0
    assert vbmf(torch.tensor([[1.0, 2.0], [2.0, 4.0]])).rank <= 1


@pytest.mark.parametrize("columns", range(1, 60, 7))
def test_one_row_is_all_noise(columns):
    assert all(vbmf(noisy(1, columns, 0, 1.0, seed=seed)).rank == 0 for seed in range(20))


def test_equal_singular_values_are_all_noise():
    for seed in range(20):
        square, _ = torch.linalg.qr(noisy(12, 12, 0, 1.0, seed=seed))
        assert vbmf(square).rank == 0
        assert vbmf(square).noise_variance == pytest.approx(1 / 12)


def test_numbers_that_are_not_finite_are_refused():
    with pytest.raises(LabError, match="not finite"):
        vbmf(torch.tensor([[1.0, float("nan")], [2.0, 4.0]]))


@pytest.mark.parametrize("alpha", [0.01, 0.1, 0.5, 1.0])
def test_the_smallest_tau_is_near_its_published_approximation(alpha):
    assert smallest_tau(alpha) == pytest.approx(2.5129 * math.sqrt(alpha), rel=0.14)


def test_of_a_square_matrix_the_smallest_tau_is_published_to_four_digits():
    assert smallest_tau(1.0) == pytest.approx(2.5129, abs=5e-5)


def iterated(singular, variance, rows, columns, steps=20000):
    """A component by the updates of empirical VB (Nakajima et al. 2013, section 2), from a start
    without noise: what it becomes, and twice the difference of its free energy to that of noise."""
    a = b = math.sqrt(singular)
    va = vb = variance / singular
    for _ in range(steps):
        ca, cb = (a * a + columns * va) / columns, (b * b + rows * vb) / rows
        va = variance / (b * b + rows * vb + variance / ca)
        a = va * singular * b / variance
        vb = variance / (a * a + columns * va + variance / cb)
        b = vb * singular * a / variance
    aa, bb = a * a + columns * va, b * b + rows * vb
    ca, cb = aa / columns, bb / rows
    energy = columns * math.log(ca / va) + rows * math.log(cb / vb)
    return a * b, energy + (aa * bb - 2 * singular * a * b) / variance


@pytest.mark.parametrize(("rows", "columns"), [(5, 20), (8, 8), (20, 90)])
@pytest.mark.parametrize("variance", [0.3, 1.0])
@pytest.mark.parametrize("above", [1.03, 1.3, 3.0])
def test_the_closed_form_is_where_the_updates_end(rows, columns, variance, above):
    singular = above * threshold(variance, rows, columns)
    value, energy = iterated(singular, variance, rows, columns)
    (closed,) = shrunk(np.array([singular]), variance, rows, columns)
    assert closed == pytest.approx(value, rel=1e-6)
    assert energy < 0
    below = 0.985 * threshold(variance, rows, columns)
    assert iterated(below, variance, rows, columns)[1] > 0


def test_the_free_energy_of_a_matrix_is_the_sum_of_its_components():
    """Against the updates: 2 F = L M log variance + |Y|^2 / variance + what signals gain."""
    rows, columns = 6, 15
    singular = np.array([40.0, 25.0, 4.0, 3.0, 2.0, 1.0])

    def direct(variance):
        gains = [iterated(one, variance, rows, columns)[1] for one in singular[:2]]
        data = rows * columns * math.log(variance) + (singular**2).sum() / variance
        return (data + sum(gains)) / columns

    ours = [free_energy(v, singular**2, rows, columns) for v in (0.5, 1.0, 2.0)]
    theirs = [direct(v) for v in (0.5, 1.0, 2.0)]
    differences = np.array(ours) - np.array(theirs)
    np.testing.assert_allclose(differences, differences[0], rtol=1e-6)


def test_the_noise_variance_has_the_least_free_energy():
    values = torch.linalg.svdvals(noisy(30, 70, 4, 0.5)).numpy()
    found = noise_variance(values, 30, 70)
    best = free_energy(found, values**2, 30, 70)
    for other in np.geomspace(found / 5, found * 5, 400):
        assert best <= free_energy(other, values**2, 30, 70) + 1e-9
