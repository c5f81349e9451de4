import copy
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from made_methods import toy_splits
from torch import nn

from labsupport.core.errors import LabError
from labsupport.core.randomness import seeded
from labsupport.training import Constant, Cyclic, Muon, OneCycle, Recipe, Triangular, fit
from labsupport.training.muon import orthogonal
from labsupport.training.optimizers import one_group


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(st.integers(1, 7), st.integers(1, 7), st.integers(0, 3))
def test_only_singular_values_change_and_they_do_by_the_polynomial(rows, columns, rounds):
    matrix = drawn(rows, columns, seed=rows + 10 * columns)
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    values = values / values.norm()
    for _ in range(rounds):  # the numbers of Jordan et al. 2024
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    torch.testing.assert_close(orthogonal(matrix, rounds), left @ values.diag() @ right)


def test_three_rounds_bring_singular_values_near_one():
    left, _, right = torch.linalg.svd(drawn(6, 9), full_matrices=False)
    given = torch.linspace(0.03, 0.6, 6, dtype=torch.float64)  # of norm 0.9
    matrix = left @ given.diag() @ right
    values = torch.linalg.svdvals(orthogonal(matrix))
    assert values.min() > 0.6
    assert values.max() < 1.3


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_scale_does_not_matter_and_zero_stays_zero(dtype):
    matrix = drawn(4, 3).to(dtype)
    found = orthogonal(1024 * matrix)
    assert found.dtype == dtype
    torch.testing.assert_close(orthogonal(matrix), found)
    assert torch.equal(orthogonal(torch.zeros(3, 5, dtype=dtype)), torch.zeros(3, 5, dtype=dtype))


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


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_filters_step_against_their_running_gradient_made_orthogonal(layout):
    with seeded(0):
        layer = nn.Conv2d(2, 4, 3, bias=False).to(memory_format=layout)
    optimizer = Muon(filter_momentum=0.7, share=0.5)([{"params": [layer.weight]}], 0.1, 7.0)
    expected, moving = layer.weight.detach().clone(), torch.zeros(4, 2, 3, 3)
    for seed in range(3):
        layer.weight.grad = drawn(4, 2, 3, 3, seed=seed).float()
        optimizer.step()
        moving = 0.7 * moving + layer.weight.grad
        direction = (layer.weight.grad + 0.7 * moving).reshape(4, 18)
        expected = 2 * expected / expected.norm()  # the root of four filters
        expected = expected - 0.05 * orthogonal(direction, rounds=3).reshape(4, 2, 3, 3)
    torch.testing.assert_close(layer.weight.detach(), expected)


def test_frozen_filters_stay():
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Conv2d(3, 2, 3), nn.Flatten())
    model[0].weight.requires_grad_(False)
    before = model[0].weight.clone()
    steps(model, Muon()(one_group(model), 0.1, 0.0))
    assert torch.equal(model[0].weight, before)


def test_numbers_with_four_dimensions_are_no_filters():
    numbers = nn.Parameter(torch.tensor([1.0, -2.0]).view(2, 1, 1, 1))
    numbers.grad = torch.ones_like(numbers)
    Muon(momentum=0.5)([{"params": [numbers]}], 0.1, 0.0).step()
    assert numbers.flatten().tolist() == pytest.approx([0.85, -2.15])  # 0.1 x 1.5


def test_filters_that_are_all_zero_stay_finite():
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten())
    nn.init.zeros_(model[0].weight)
    steps(model, Muon()(one_group(model), 0.1, 0.0))
    assert model[0].weight.isfinite().all()


def test_a_closure_is_asked_for_the_loss():
    weight = nn.Parameter(torch.ones(3))
    optimizer = Muon()([{"params": [weight]}], 0.1, 0.0)

    def closure():
        optimizer.zero_grad()
        loss = weight.square().sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 3
    assert (weight < 1).all()


@pytest.mark.parametrize("way", ["deepcopy", "pickle", "state_dict"])
def test_a_copy_goes_on_as_the_optimizer_does(way):
    with seeded(0):
        model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(48, 2))
    optimizer = Muon(0.5, 0.3, 0.2)(one_group(model), 0.01, 0.1)
    steps(model, optimizer)
    if way == "state_dict":
        copied = copy.deepcopy(model)
        other = Muon(0.9, 0.8, 0.7)(one_group(copied), 1.0, 0.0)
        other.load_state_dict(optimizer.state_dict())
    else:
        both = (model, optimizer)
        copied, other = (
            copy.deepcopy(both) if way == "deepcopy" else pickle.loads(pickle.dumps(both))
        )
    steps(model, optimizer)
    steps(copied, other)
    torch.testing.assert_close(copied.state_dict(), model.state_dict())


@pytest.mark.parametrize("schedule", [OneCycle(), Triangular(), Constant(), Cyclic(1)])
def test_it_trains_under_every_schedule(schedule):
    splits = toy_splits()
    with seeded(0):
        convolution = nn.Conv2d(len(splits.train.x[0]), 4, 3, bias=False), nn.BatchNorm2d(4)
        model = nn.Sequential(*convolution, nn.ReLU(), nn.Flatten(), nn.LazyLinear(3))
    model(splits.train.x)
    losses = fit(model, splits, Recipe(6, 20, 0.05, optimizer=Muon(), schedule=schedule)).history
    assert losses["train_loss"].iloc[-1] < 0.8 * losses["train_loss"].iloc[0]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"momentum": 0}, "momentum of 0"),
        ({"momentum": 1.5}, "momentum of 1.5"),
        ({"filter_momentum": -1}, "filter_momentum of -1"),
        ({"share": 0}, "share of 0"),
        ({"share": float("inf")}, "share of inf"),
    ],
)
def test_numbers_that_cannot_be_are_refused(wrong, said):
    with pytest.raises(LabError, match=said):
        Muon(**wrong)
