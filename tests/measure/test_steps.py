"""Training steps beside their matrix products; nothing here asks how long they take."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from labsupport.core.errors import LabError
from labsupport.data import Split, Splits
from labsupport.measure import steps
from labsupport.network.cost import batch_cost
from labsupport.training import Constant, CrossEntropy, Recipe, fit

RECIPE = Recipe(1, 8, 0.01)


def made(images: int = 24) -> Splits:
    x = torch.randn(images, 1, 2, 3, generator=torch.Generator().manual_seed(0))
    part = Split(x, torch.arange(images) % 3)
    return Splits("made", part, part, part, ("a", "b", "c"), (0.0,), (1.0,), "")


def mlp() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))


def test_the_products_of_a_step_are_forward_and_both_gradients(monkeypatch):
    """Three times the MACs of inference, but for the input gradient of the first layer."""
    shapes: list[tuple[int, int, int]] = []
    mm = torch.mm

    def counted(left, right, out):
        shapes.append((*left.shape, right.shape[1]))
        return mm(left, right, out=out)

    monkeypatch.setattr(torch, "mm", counted)
    x = made().train.x[:8]
    steps.matrix_products(mlp(), x)()
    assert shapes == [(8, 6, 5), (8, 5, 3), (3, 8, 5), (8, 3, 5), (5, 8, 6)]
    macs = sum(rows * inner * columns for rows, inner, columns in shapes)
    assert macs == 3 * batch_cost(mlp(), x).fp_macs - 8 * 6 * 5


def test_the_steps_are_those_of_fit():
    splits, model = made(), mlp()
    recipe = Recipe(1, 8, 0.01, schedule=Constant())
    fitted = fit(model, splits, recipe, seed=0).model
    steps.training_steps(model, splits.train, recipe, CrossEntropy())()
    torch.testing.assert_close(model.state_dict(), fitted.state_dict(), rtol=0, atol=0)


def test_steps_are_made_in_the_layout_of_the_recipe():
    network = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Flatten(), nn.Linear(64, 3))
    images = Split(torch.randn(8, 2, 6, 6), torch.arange(8) % 3)
    recipe = Recipe(1, 8, schedule=Constant(), channels_last=True)
    steps.training_steps(network, images, recipe, CrossEntropy())()
    assert network[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert not network[0].weight.is_contiguous()


def test_clocking_leaves_the_model_alone(monkeypatch):
    monkeypatch.setattr(steps, "multiplies_bfloat16", lambda _: True)
    model = mlp()
    before = copy.deepcopy(model.state_dict())
    clocked = steps.clock_steps(model, made(), RECIPE, images=20, rounds=2)
    assert list(clocked.turns) == [steps.STEPS, steps.PRODUCTS, steps.BFLOAT16]
    assert list(clocked.table["batch"]) == [16] * 3
    torch.testing.assert_close(model.state_dict(), before)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_without_the_instructions_nothing_is_clocked_in_bfloat16(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "amx_bf16": False})
    clocked = steps.clock_steps(mlp(), made(), RECIPE, rounds=1)
    assert list(clocked.turns) == [steps.STEPS, steps.PRODUCTS]


@pytest.mark.parametrize("there", [True, False])
def test_a_ratio_for_each_batch_size_and_none_in_bfloat16_without_the_instructions(
    monkeypatch, there
):
    monkeypatch.setattr(steps, "multiplies_bfloat16", lambda _: there)
    table = steps.step_ratios(mlp(), made(), RECIPE, (4, 8), rounds=1)
    found = list(zip(table["ratio"], table["batch"], strict=True))
    names = ["gemm_ratio", "bf16_speedup"] if there else ["gemm_ratio"]
    assert found == [(name, size) for size in (4, 8) for name in names]
    assert (table["value_clocked"] > 0).all()


def test_a_network_without_linear_layers_is_refused():
    with pytest.raises(LabError, match="without linear layers"):
        steps.matrix_products(nn.Flatten(), made().train.x)
