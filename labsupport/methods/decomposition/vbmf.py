"""Variational Bayesian matrix factorization: how much of a matrix is signal, in closed form.

Empirical VB of a fully observed matrix: Nakajima, Sugiyama, Babacan and Tomioka 2013, "Global
analytic solution of fully-observed variational Bayesian matrix factorization", JMLR 14; in the
notation of Nakajima, Tomioka, Sugiyama and Babacan 2015, "Condition for perfect dimensionality
recovery by variational Bayesian PCA", JMLR 16. A matrix of L rows and M >= L columns is signal of
low rank and noise of one variance; singular values that noise alone could give become zero.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import brentq, minimize_scalar
from torch import Tensor

from labsupport.core.errors import LabError

Values = NDArray[np.float64]
TRIED = 200  # variances at which the search for the best one begins
SMALLEST = 1e-10  # of a variance, and of a squared singular value, in those of the matrix


@dataclass(frozen=True)
class Factorized:
    """What is signal in a matrix: its singular values, shrunk, the largest first; the noise."""

    values: Tensor
    noise_variance: float

    @property
    def rank(self) -> int:
        """How many singular values are signal, 0 where all may be noise."""
        return len(self.values)


def vbmf(matrix: Tensor) -> Factorized:
    """The posterior mean's singular values under the noise variance of the least free energy.

    Raises LabError for numbers that are not finite.
    """
    if not bool(matrix.isfinite().all()):
        raise LabError(
            "a matrix with numbers that are not finite", "see that the training converged"
        )
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    singular = torch.linalg.svdvals(wide.detach().double().cpu()).numpy()
    if not singular[0] > 0:
        return Factorized(torch.empty(0, dtype=torch.float64), 0.0)
    rows, columns = wide.shape
    variance = noise_variance(singular, rows, columns)
    kept = singular[singular > threshold(variance, rows, columns)]
    return Factorized(torch.from_numpy(shrunk(kept, variance, rows, columns)), variance)


def threshold(variance: float, rows: int, columns: int) -> float:
    """The singular value above which a component is signal."""
    return math.sqrt(columns * variance * _smallest_ratio(rows / columns))


def shrunk(singular: Values, variance: float, rows: int, columns: int) -> Values:
    """The posterior mean of components above the threshold."""
    noise = variance / singular**2
    part = 1 - (rows + columns) * noise
    root = np.sqrt(part**2 - 4 * rows * columns * noise**2)
    shrunk: Values = singular / 2 * (part + root)
    return shrunk


def noise_variance(singular: Values, rows: int, columns: int) -> float:
    """The variance of the least free energy, between the bounds of the paper."""
    squares = np.maximum(singular**2, SMALLEST * singular[0] ** 2)
    scale = float(squares.mean()) / columns  # the variance if all were noise
    most = min(math.ceil(rows / (1 + rows / columns)) - 1, rows - 1)  # components there can be
    low = max(
        squares[most] / (columns * _smallest_ratio(rows / columns)),
        float(squares[most:].mean()) / columns,
    )
    tried = np.geomspace(min(max(low, SMALLEST * scale), scale), scale, TRIED)
    energies = [free_energy(variance, squares, rows, columns) for variance in tried]
    best = int(np.argmin(energies))
    below, above = np.log(tried[[max(0, best - 1), min(TRIED - 1, best + 1)]])
    if not below < above:  # the bounds of the paper meet
        return float(tried[best])
    found = minimize_scalar(
        lambda log: free_energy(math.exp(log), squares, rows, columns),
        bounds=(below, above), method="bounded",
    )  # fmt: skip
    # The energy has kinks, so the search between two variances may end above both.
    return math.exp(found.x) if found.fun < energies[best] else float(tried[best])


def free_energy(variance: float, squares: Values, rows: int, columns: int) -> float:
    """Twice the free energy of squared singular values, per column, up to a constant."""
    alpha, x = rows / columns, squares / (columns * variance)
    energy = x - np.log(x)
    signal = x > _smallest_ratio(alpha)
    tau = _tau(x[signal], alpha)
    energy[signal] += np.log(tau + 1) + alpha * np.log(tau / alpha + 1) - tau
    return float(energy.sum())


def _tau(x: Values, alpha: float) -> Values:
    """The shrunk component times the observed one, per column and variance."""
    part = x - (1 + alpha)
    tau: Values = (part + np.sqrt(part**2 - 4 * alpha)) / 2
    return tau


def _smallest_ratio(alpha: float) -> float:
    """The least squared singular value of a signal, per column and variance; alpha is L / M."""
    tau = smallest_tau(alpha)
    return (1 + tau) * (1 + alpha / tau)


def smallest_tau(alpha: float) -> float:
    """The tau at which signal and noise have equal free energies, about 2.5129 sqrt(alpha)."""

    def difference(tau: float) -> float:
        return _gain(tau) + _gain(tau / alpha)

    return float(brentq(difference, 2.5 * alpha, 2.6))


def _gain(z: float) -> float:
    return math.log1p(z) / z - 0.5
