"""A tensor as a sum of rank-one terms (CP), found by least squares, and what goes wrong with it.

The best sum of so many terms may not exist: terms grow against each other without end while the
error falls (de Silva and Lim 2008, "Tensor rank and the ill-posedness of the best low-rank
approximation problem"). `Terms.divergence` shows it, `stable` cures it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import tensorly
import torch
from tensorly.decomposition import parafac
from torch import Tensor

from labsupport.core.errors import LabError

SWEEPS = 60
RIDGES = (1e-9, 1e-4, 1e-3, 1e-2)  # of a tensor of norm 1, tried in turn
SEEDS = 2  # starts with each of them
LIMIT = 2.0  # of divergence; terms that do not cancel have at most 1


@dataclass(frozen=True)
class Terms:
    """Rank-one terms: for each axis of the tensor a matrix (size, terms), in float64."""

    factors: tuple[Tensor, ...]

    def rebuilt(self) -> Tensor:
        """The sum of the terms."""
        axes = "abcdefgh"[: len(self.factors)]
        return torch.einsum(f"{','.join(f'{axis}z' for axis in axes)}->{axes}", *self.factors)

    def norms(self) -> Tensor:
        """The norm of each term, (terms,)."""
        return torch.stack([factor.norm(dim=0) for factor in self.factors]).prod(0)

    def normalized(self) -> Terms:
        """The same sum, the norm of each term spread evenly over its factors."""
        share = self.norms() ** (1 / len(self.factors))
        return Terms(tuple(f / f.norm(dim=0).clamp_min(1e-300) * share for f in self.factors))

    def error(self, tensor: Tensor) -> float:
        """The norm of what is missing, in norms of the tensor."""
        return float((self.rebuilt() - tensor).norm() / tensor.norm())

    def divergence(self, tensor: Tensor) -> float:
        """The root of the summed squared norms of the terms, in norms of the tensor.

        At most 1 for terms at right angles; large where terms cancel (Phan et al. 2020, "Stable
        low-rank tensor decomposition for compression of convolutional neural network", section 3).
        """
        return float(self.norms().norm() / tensor.norm())


def full_rank(shape: tuple[int, ...]) -> int:
    """So many terms make up every tensor of the shape: the product of all sizes but the largest."""
    return math.prod(shape) // max(shape)


def exact(tensor: Tensor) -> Terms:
    """`full_rank` terms that are the tensor: each is a line along its longest axis."""
    longest = max(range(tensor.dim()), key=lambda axis: tensor.shape[axis])
    places = [torch.eye(n, dtype=tensor.dtype) for i, n in enumerate(tensor.shape) if i != longest]
    grid = torch.meshgrid(*[torch.arange(len(place)) for place in places], indexing="ij")
    factors = [place[:, at.flatten()] for place, at in zip(places, grid, strict=True)]
    factors.insert(longest, tensor.movedim(longest, 0).flatten(1))
    return Terms(tuple(factors))


def alternating(
    tensor: Tensor, rank: int, seed: int = 0, ridge: float = RIDGES[0], sweeps: int = SWEEPS
) -> Terms:
    """Alternating least squares (Kolda and Bader 2009, figure 3.3), by tensorly, from chance.

    `ridge` times the summed squares of all factors is added to the squared error of the tensor
    divided by its norm. Raises LabError for a ridge that is not above 0, less than one term, and
    numbers that are not finite.
    """
    if not ridge > 0:
        raise LabError(f"a ridge of {ridge}", "give one above 0, so that there is one solution")
    if rank < 1:
        raise LabError(f"a sum of {rank} terms", "give a whole number, at least 1")
    if not bool(tensor.isfinite().all()):
        raise LabError("a tensor with numbers that are not finite", "look at how it was made")
    norm = tensor.norm()
    if not norm > 0:
        return Terms(tuple(torch.zeros(n, rank, dtype=tensor.dtype) for n in tensor.shape))
    with tensorly.backend_context("numpy"):
        found = parafac(
            (tensor / norm).numpy(), rank, n_iter_max=sweeps, tol=1e-7, init="random",
            random_state=np.random.RandomState(seed), l2_reg=ridge,
        )  # fmt: skip
    scale = float(norm) ** (1 / tensor.dim())
    factors = tuple(torch.from_numpy(np.ascontiguousarray(f)) * scale for f in found.factors)
    return Terms(factors).normalized()


def descended(tensor: Tensor, terms: Terms, ridge: float = RIDGES[0], steps: int = 100) -> Terms:
    """The terms after gradient descent on all factors at once (L-BFGS), if that is better.

    The same loss as of `alternating` (Acar et al. 2011, "A scalable optimization approach for
    fitting canonical tensor decompositions").
    """
    scale = float(tensor.norm()) ** (1 / tensor.dim())
    if not scale > 0:
        return terms
    unit = tensor / tensor.norm()
    factors = [(factor / scale).clone().requires_grad_() for factor in terms.factors]
    search = torch.optim.LBFGS(factors, max_iter=steps, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        search.zero_grad()
        missing = (Terms(tuple(factors)).rebuilt() - unit).square().sum()
        value: Tensor = missing + ridge * sum(factor.square().sum() for factor in factors)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    with torch.enable_grad():
        search.step(loss)  # type: ignore[no-untyped-call]
    found = Terms(tuple(factor.detach() * scale for factor in factors)).normalized()
    return found if found.error(tensor) < terms.error(tensor) else terms


def stable(tensor: Tensor, rank: int, seed: int = 0) -> Terms:
    """Terms by the least ridge at which they do not diverge.

    A start that diverges is given up for another one, then for a larger ridge; where all do, the
    last is taken.
    """
    return _with_ridge(tensor, rank, seed)[0]


def stable_then_descended(tensor: Tensor, rank: int, seed: int = 0) -> Terms:
    """Stable terms, then gradient descent with at least their ridge, if they are stable then."""
    terms, ridge = _with_ridge(tensor, rank, seed)
    found = descended(tensor, terms, max(ridge, RIDGES[1]))
    return found if found.divergence(tensor) <= LIMIT else terms


def _with_ridge(tensor: Tensor, rank: int, seed: int) -> tuple[Terms, float]:
    """Stable terms, and the ridge that they have."""
    for ridge in RIDGES:
        for start in range(SEEDS):
            terms = alternating(tensor, rank, seed + start, ridge)
            if terms.divergence(tensor) <= LIMIT:
                return terms, ridge
    return terms, ridge
