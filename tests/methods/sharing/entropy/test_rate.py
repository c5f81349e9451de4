"""The rate is the length of a code, its gradient that of the codes; training lowers it."""

import math

import numpy as np
import pytest
import torch
from made_rules import toy_images, toy_network
from torch import nn

from labsupport.core.errors import LabError
from labsupport.data import Batch
from labsupport.methods.sharing.entropy import RateDistortion, rate, steps, with_steps
from labsupport.methods.sharing.entropy.matrices import code_matrix
from labsupport.methods.sharing.entropy.rate import (
    code_bits,
    code_matrices,
    expected_magnitudes,
    geometric_bits,
)
from labsupport.methods.sharing.entropy.streams import Writer
from labsupport.training import CrossEntropy, StepGroups

MEANS = torch.tensor([1e-4, 0.01, 0.3, 1.0, 5.0], dtype=torch.float64)


def chances(mean):
    """Of the whole numbers from -5000 to 5000."""
    numbers = torch.arange(-5000, 5001).double()
    return numbers, 2 ** -geometric_bits(numbers.abs(), mean)


@pytest.mark.parametrize("mean", MEANS)
def test_the_model_is_a_distribution_with_the_given_mean_magnitude(mean):
    numbers, of = chances(mean)
    assert of.sum() == pytest.approx(1, abs=1e-9)
    assert (numbers.abs() * of).sum() == pytest.approx(mean.item(), rel=1e-6)


@pytest.mark.parametrize("mean", MEANS)
def test_expected_bits_are_the_entropy(mean):
    numbers, of = chances(mean)
    expected = (of * geometric_bits(numbers.abs(), mean)).sum()
    assert expected == pytest.approx(-(of * of.clamp_min(1e-300).log2()).sum().item())


def test_the_gradient_by_magnitudes_and_means_is_that_of_finite_differences():
    torch.manual_seed(0)
    magnitudes = torch.rand(4, 3, dtype=torch.float64, requires_grad=True)
    means = (torch.rand(4, 3, dtype=torch.float64) + 0.1).requires_grad_()
    assert torch.autograd.gradcheck(geometric_bits, (magnitudes, means))


def test_the_mean_of_the_magnitudes_themselves_takes_fewest_bits():
    magnitudes = torch.tensor([[0.0, 1, 0, 4, 0, 0, 2]])
    means = torch.linspace(0.2, 4, 500)
    bits = torch.stack([geometric_bits(magnitudes, mean).sum() for mean in means])
    assert means[bits.argmin()].item() == pytest.approx(1.0, abs=0.02)


def test_expected_magnitudes_keep_the_sums_of_rows_and_columns():
    magnitudes = torch.rand(20, 30) * 50
    expected = expected_magnitudes(magnitudes)
    torch.testing.assert_close(expected.sum(0), magnitudes.sum(0), rtol=0.01, atol=0.6)
    torch.testing.assert_close(expected.sum(1), magnitudes.sum(1), rtol=0.01, atol=0.6)


def test_the_gradient_by_the_step_is_that_of_the_codes_before_rounding():
    """Finite differences of the bits with the means as they are and nothing rounded."""
    torch.manual_seed(0)
    values, log_step = torch.randn(6, 5).double(), torch.tensor(-1.2, dtype=torch.float64)
    codes = values / log_step.exp()
    means = expected_magnitudes(codes.round().abs())

    def bits(log_step):
        return geometric_bits((values / log_step.exp()).abs(), means).sum()

    slope = (bits(log_step + 1e-5) - bits(log_step - 1e-5)) / 2e-5
    log_step.requires_grad_()
    code_bits(values / log_step.exp()).backward()
    assert log_step.grad.item() == pytest.approx(slope.item(), rel=1e-6)


def test_codes_pull_to_zero_also_where_they_are_rounded_to_it():
    codes = torch.tensor([[0.3, -0.3, 2.2], [0.0, 0.4, -1.0]], requires_grad=True)
    code_bits(codes).backward()
    assert torch.equal(codes.grad.sign(), codes.detach().sign())


def test_what_is_rare_in_its_row_and_column_costs_most():
    codes = torch.ones(6, 6)
    codes[3:, :] = 0
    codes[:, 3:] = 0
    codes[5, 5] = 1
    codes.requires_grad_()
    code_bits(codes).backward()
    assert codes.grad[5, 5] > codes.grad[0, 0] + 1


def test_the_rate_is_about_what_the_coder_takes():
    drawn = np.random.default_rng(0)
    scale = drawn.gamma(1, 1, (60, 1)) * drawn.gamma(1, 1, 80)
    codes = np.round(drawn.laplace(0, 0.4, (60, 80)) * scale).astype(np.int64)
    writer = Writer()
    code_matrix(writer, codes)
    assert code_bits(torch.from_numpy(codes).float()).item() == pytest.approx(
        writer.bits(), rel=0.2
    )


def test_codes_of_a_layer_are_a_matrix_with_the_bias_last():
    net = with_steps(toy_network())
    matrices = code_matrices(net)
    assert {name: tuple(of.shape) for name, of in matrices.items()} == {
        "0": (4, 10), "4": (12, 37), "7": (3, 13),
    }  # fmt: skip
    step = steps(net)["4.bias"].step
    torch.testing.assert_close(matrices["4"][:, -1].round() * step, net[4].bias)
    assert list(rate(net).index) == ["0", "4", "7"]


def test_the_objective_adds_the_bits_for_each_code():
    net, images = with_steps(toy_network()).eval(), toy_images(20, 0)
    batch = Batch(images.x, images.y)
    plain, rated = CrossEntropy()(net, batch), RateDistortion(0.7)(net, batch)
    codes = 4 * 10 + 12 * 37 + 3 * 13
    expected = plain.loss.item() + 0.7 * rate(net).sum() / codes
    assert rated.loss.item() == pytest.approx(expected, rel=1e-5)
    assert torch.equal(rated.logits, plain.logits)


def test_descent_lowers_the_rate_until_whole_rows_and_columns_vanish():
    torch.manual_seed(0)
    net = with_steps(nn.Sequential(nn.Flatten(), nn.Linear(64, 30), nn.ReLU(), nn.Linear(30, 3)))
    images = toy_images(300, 0)
    batch, before = Batch(images.x, images.y), rate(net).sum()
    optimizer = torch.optim.AdamW(StepGroups(1e-2)(net), 1e-2, weight_decay=0)
    for _ in range(300):
        optimizer.zero_grad()
        RateDistortion(1.0)(net, batch).loss.backward()
        optimizer.step()
    codes = code_matrices(net)["1"].round()
    assert rate(net).sum() < before / 8
    assert (net(images.x).argmax(1) == images.y).float().mean() > 0.95
    assert (codes != 0).any(1).sum() <= 20
    assert (codes != 0).any(0).sum() <= 50


@pytest.mark.parametrize("weight", [-1, math.nan, math.inf, None, "1"])
def test_a_weight_that_is_negative_or_no_finite_number_is_refused(weight):
    with pytest.raises(LabError, match="for the bits; give a finite one from 0"):
        RateDistortion(weight)


def test_a_network_without_steps_is_refused():
    with pytest.raises(LabError, match="no layer of this Sequential has steps"):
        rate(toy_network())
