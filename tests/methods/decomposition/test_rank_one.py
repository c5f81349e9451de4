"""Sums of rank-one terms: found where they exist, noticed and cured where they diverge."""

import pytest
import torch

from labsupport.core.errors import LabError
from labsupport.methods.decomposition.rank_one import (
    LIMIT,
    Terms,
    alternating,
    descended,
    exact,
    full_rank,
    stable,
    stable_then_descended,
)


def drawn(shape, rank, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return Terms(
        tuple(torch.randn(n, rank, generator=generator, dtype=torch.float64) for n in shape)
    )


def without_best():
    """a x a x b + a x b x a + b x a x a: rank 3, but as near to rank 2 as one likes (de Silva and
    Lim 2008, proposition 4.6)."""
    tensor = torch.zeros(3, 3, 3, dtype=torch.float64)
    tensor[0, 0, 1] = tensor[0, 1, 0] = tensor[1, 0, 0] = 1
    return tensor


@pytest.mark.parametrize("fit", [stable, stable_then_descended])
def test_terms_that_exist_are_found(fit):
    tensor = drawn((7, 6, 3, 4), 3).rebuilt()
    assert fit(tensor, 3).error(tensor) < 1e-3


def test_terms_are_summed_normed_and_normalized():
    terms = drawn((4, 3, 2), 5)
    by_hand = sum(
        torch.einsum("a,b,c->abc", *(factor[:, r] for factor in terms.factors)) for r in range(5)
    )
    torch.testing.assert_close(terms.rebuilt(), by_hand)
    each = [Terms(tuple(f[:, r : r + 1] for f in terms.factors)).rebuilt() for r in range(5)]
    torch.testing.assert_close(terms.norms(), torch.stack([one.norm() for one in each]))
    even = terms.normalized()
    torch.testing.assert_close(even.rebuilt(), by_hand)
    sizes = torch.stack([factor.norm(dim=0) for factor in even.factors])
    torch.testing.assert_close(sizes, sizes[:1].expand_as(sizes))


@pytest.mark.parametrize("shape", [(2, 3, 4), (5, 1, 3, 3), (4, 7)])
def test_so_many_terms_make_up_every_tensor(shape):
    tensor = torch.randn(shape, dtype=torch.float64)
    terms = exact(tensor)
    torch.testing.assert_close(terms.rebuilt(), tensor)
    assert terms.factors[0].shape[1] == full_rank(shape)


def test_terms_at_right_angles_do_not_diverge():
    terms = Terms((torch.eye(3).double(),) * 3)
    assert terms.divergence(terms.rebuilt()) == pytest.approx(1)


def test_a_tensor_without_a_best_sum_diverges_and_is_cured():
    tensor = without_best()
    short, long = (alternating(tensor, 2, seed=1, sweeps=n) for n in (10, 1000))
    assert long.error(tensor) < short.error(tensor)
    assert long.divergence(tensor) > max(LIMIT, 1.3 * short.divergence(tensor))
    first, second = (term / term.norm() for term in long.factors[0].T)
    assert abs(first @ second) > 0.9  # they cancel
    for cured in (stable(tensor, 2), stable_then_descended(tensor, 2)):
        assert cured.divergence(tensor) <= LIMIT
        assert cured.error(tensor) < 0.75  # the best single term leaves 0.745


def test_a_ridge_shrinks_the_terms():
    tensor = without_best()
    reached = [alternating(tensor, 2, 1, r).divergence(tensor) for r in (1e-9, 1e-4, 1e-2)]
    assert reached == sorted(reached, reverse=True)


def test_descent_never_makes_it_worse():
    tensor = torch.randn(6, 5, 3, 3, dtype=torch.float64, generator=torch.manual_seed(0))
    rough = alternating(tensor, 4, sweeps=3)
    better = descended(tensor, rough)
    assert better.error(tensor) < rough.error(tensor)
    assert descended(tensor, better, ridge=10.0).error(tensor) <= better.error(tensor)


def test_the_seed_determines_the_terms():
    tensor = drawn((5, 4, 3), 6).rebuilt()
    one, same, other = (alternating(tensor, 2, seed) for seed in (1, 1, 2))
    assert torch.equal(one.rebuilt(), same.rebuilt())
    assert not torch.equal(one.factors[0], other.factors[0])


def test_zeros_have_zeros_as_terms():
    zeros = torch.zeros(3, 4, 2, dtype=torch.float64)
    assert torch.equal(stable(zeros, 2).rebuilt(), zeros)
    assert torch.equal(stable_then_descended(zeros, 2).rebuilt(), zeros)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_and_no_terms_are_refused(value):
    tensor = torch.full((2, 3, 2), value, dtype=torch.float64)
    for fit in (alternating, stable, stable_then_descended):
        with pytest.raises(LabError, match="not finite"):
            fit(tensor, 2)
        with pytest.raises(LabError, match="a sum of 0 terms"):
            fit(without_best(), 0)


@pytest.mark.parametrize("ridge", [0, -1e-3, float("nan")])
def test_without_a_ridge_there_may_be_many_solutions(ridge):
    with pytest.raises(LabError, match=f"a ridge of {ridge}; give one above 0"):
        alternating(without_best(), 2, ridge=ridge)
