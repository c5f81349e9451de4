import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from labsupport.core.errors import LabError
from labsupport.core.randomness import seeded
from labsupport.training import Muon
from labsupport.training.muon import COEFFICIENTS, orthogonal
from labsupport.training.optimizers import one_group


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(st.integers(1, 7), st.integers(1, 7), st.integers(0, 3))
def test_only_singular_values_change_and_they_do_by_the_polynomial(rows, columns, rounds):
    matrix = drawn(rows, columns, seed=rows + 10 * columns)
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    a, b, c = COEFFICIENTS
    values = values / values.norm()
    for _ in range(rounds):
        values = a * values + b * values**3 + c * values**5
    torch.testing.assert_close(orthogonal(matrix, rounds), left @ values.diag() @ right)


def test_five_rounds_bring_singular_values_near_one():
    left, _, right = torch.linalg.svd(drawn(6, 9), full_matrices=False)
    matrix = left @ torch.linspace(0.1, 1, 6, dtype=torch.float64).diag() @ right
    values = torch.linalg.svdvals(orthogonal(matrix, 5))
    assert values.min() > 0.6
    assert values.max() < 1.3


def test_a_scale_does_not_matter_and_zero_stays_zero():
    matrix = drawn(4, 3)
    torch.testing.assert_close(orthogonal(matrix), orthogonal(1000 * matrix))
    assert torch.equal(orthogonal(torch.zeros(3, 5)), torch.zeros(3, 5))


def steps(model, optimizer, count=3):
    x = drawn(5, 2, 6, 6).float()
    for _ in range(count):
        optimizer.zero_grad()
        model(x).square().sum().backward()
        optimizer.step()


def test_what_is_no_filter_goes_as_with_torchs_sgd():
    with seeded(0):
        first = nn.Sequential(nn.Flatten(), nn.Linear(72, 3), nn.Tanh(), nn.Linear(3, 2))
        second = nn.Sequential(nn.Flatten(), nn.Linear(72, 3), nn.Tanh(), nn.Linear(3, 2))
    second.load_state_dict(first.state_dict())
    steps(first, Muon(momentum=0.7)(one_group(first), 0.01, 0.1))
    like = torch.optim.SGD(second.parameters(), 0.01, 0.7, weight_decay=0.1, nesterov=True)
    steps(second, like)
    torch.testing.assert_close(first.state_dict(), second.state_dict())


def test_filters_step_against_their_gradient_made_orthogonal():
    with seeded(0):
        layer = nn.Conv2d(2, 4, 3, bias=False)
    model, before = nn.Sequential(layer, nn.Flatten()), layer.weight.detach().clone()
    optimizer = Muon(filter_momentum=0.6, share=0.5)(one_group(model), 0.1, 7.0)
    steps(model, optimizer, 1)
    gradient = layer.weight.grad * 1.6  # Nesterov's first step
    expected = before * 2 / before.norm()
    expected = expected - 0.05 * orthogonal(gradient.flatten(1)).view_as(before)
    torch.testing.assert_close(layer.weight.detach(), expected)


def test_frozen_filters_stay():
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Conv2d(3, 2, 3), nn.Flatten())
    model[0].weight.requires_grad_(False)
    before = model[0].weight.clone()
    steps(model, Muon()(one_group(model), 0.1, 0.0))
    assert torch.equal(model[0].weight, before)


@pytest.mark.parametrize("wrong", [{"momentum": 0}, {"filter_momentum": -1}, {"share": 0}])
def test_numbers_that_are_not_above_zero_are_refused(wrong):
    with pytest.raises(LabError, match="above 0"):
        Muon(**wrong)
