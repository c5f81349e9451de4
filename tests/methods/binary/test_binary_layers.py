"""Signs, their scales and gradients, and layers of them against what they stand for."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from labsupport.core.errors import LabError
from labsupport.methods.binary import (
    BNN,
    BWN,
    LAB,
    XNOR,
    XNOR_WITHOUT_K,
    BinaryConv2d,
    BinaryLinear,
    LossAware,
    MeanMagnitude,
    Scheme,
    sign,
)


def signs(x):
    return torch.where(x >= 0, 1.0, -1.0)


@pytest.mark.parametrize("window", [0.5, 1.0, 2.0])
def test_the_sign_of_zero_is_plus_one_and_gradients_pass_within_the_window(window):
    x = torch.tensor([-2.5, -2.0, -0.7, -0.0, 0.0, 0.3, 0.5, 1.0, 3.0], requires_grad=True)
    gradients = torch.arange(1.0, 10.0)
    given_signs = sign(x, window)
    given_signs.backward(gradients)
    assert given_signs.tolist() == [-1, -1, -1, 1, 1, 1, 1, 1, 1]
    assert torch.equal(x.grad, gradients * (x.abs() <= window))


@given(seed=st.integers(0, 100), other=st.floats(0, 2))
def test_no_factor_brings_signs_nearer_than_the_mean_magnitude(seed, other):
    weight = torch.randn(3, 7, generator=torch.Generator().manual_seed(seed))
    alpha = MeanMagnitude().alpha(weight, None)

    def distance(factors):
        return (weight - factors[:, None] * signs(weight)).square().sum(1)

    assert (distance(alpha) <= distance(torch.full((3,), other)) + 1e-5).all()


def test_the_mean_magnitude_is_differentiated():
    torch.manual_seed(0)
    layer = BinaryLinear(nn.Linear(5, 2), BWN, "layer")
    with torch.no_grad():
        layer.weight[0, 0] = 1.5  # outside of the window: its sign has no gradient
    x, gradient = torch.randn(4, 5), torch.randn(4, 2)
    layer(x).backward(gradient)
    at_binary = gradient.T @ x  # of the loss with respect to alpha sign(w)
    weight = layer.weight.detach()
    through_alpha = signs(weight) * (at_binary * signs(weight)).mean(1, keepdim=True)
    through_sign = at_binary * weight.abs().mean(1, keepdim=True) * (weight.abs() <= 1)
    torch.testing.assert_close(layer.weight.grad, through_alpha + through_sign)


def test_the_loss_aware_scale_takes_the_second_moment_of_adam():
    torch.manual_seed(0)
    layer = BinaryLinear(nn.Linear(6, 3), LAB, "layer")
    magnitudes = layer.weight.abs().mean()
    torch.testing.assert_close(layer.alpha, magnitudes.expand(3))  # all alike before any step
    adam = torch.optim.Adam(layer.parameters(), lr=0.01)
    for _ in range(4):
        adam.zero_grad()
        layer(torch.randn(8, 6)).square().sum().backward()
        adam.step()
        layer.after_step()
    second_moment = adam.state[layer.weight]["exp_avg_sq"]
    torch.testing.assert_close(layer.memory, second_moment)
    d = second_moment.sqrt()
    expected = (d * layer.weight.abs()).sum() / d.sum()
    torch.testing.assert_close(layer.alpha, expected.expand(3))
    assert not LossAware().alpha(layer.weight, layer.memory).requires_grad


def test_the_loss_aware_gradient_is_that_at_the_binary_weights():
    torch.manual_seed(0)
    layer = BinaryLinear(nn.Linear(5, 2), LAB, "layer")
    with torch.no_grad():
        layer.weight[0, 0] = 1.5
    x, gradient = torch.randn(4, 5), torch.randn(4, 2)
    out = layer(x)
    torch.testing.assert_close(out, x @ signs(layer.weight).T * layer.alpha + layer.bias)
    out.backward(gradient)
    torch.testing.assert_close(layer.weight.grad, gradient.T @ x)


def test_what_is_no_number_stays_none():
    assert sign(torch.tensor([float("nan"), 2.0])).isnan().tolist() == [True, False]


def test_latent_weights_are_clipped_after_a_step_and_frozen_ones_are_left_alone():
    layer = BinaryLinear(nn.Linear(2, 2, bias=False), BNN, "layer")
    layer.weight.data = torch.tensor([[-3.0, 0.5], [2.0, -1.0]])
    before = layer.weight.clone()
    layer.after_step()
    assert torch.equal(layer.weight, before)
    layer.weight.grad = torch.zeros(2, 2)
    layer.after_step()
    assert layer.weight.tolist() == [[-1.0, 0.5], [1.0, -1.0]]


@settings(max_examples=30)
@given(
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.integers(1, 2),
    padding=st.integers(0, 2),
    dilation=st.integers(1, 2),
    bias=st.booleans(),
    seed=st.integers(0, 50),
)
def test_a_binary_convolution_is_one_of_scaled_signs(kernel, stride, padding, dilation, bias, seed):
    torch.manual_seed(seed)
    conv = nn.Conv2d(3, 4, kernel, stride, padding, dilation, bias=bias)
    x, weight = torch.randn(2, 3, 7, 8), signs(conv.weight)
    weight = weight * conv.weight.abs().mean((1, 2, 3), keepdim=True)
    padded = F.pad(signs(x), [padding] * 4, value=1.0)  # zero is no binary value
    expected = F.conv2d(padded, weight, conv.bias, stride, 0, dilation)
    torch.testing.assert_close(BinaryConv2d(conv, XNOR_WITHOUT_K, "conv")(x), expected)
    real = F.conv2d(x, weight, conv.bias, stride, padding, dilation)
    torch.testing.assert_close(BinaryConv2d(conv, BWN, "conv")(x), real)


def test_k_is_the_mean_magnitude_of_what_a_filter_sees():
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 2, (3, 2), stride=2, padding=1, bias=False)
    x = torch.randn(2, 3, 6, 5)
    scaled, plain = (BinaryConv2d(conv, scheme, "conv")(x) for scheme in (XNOR, XNOR_WITHOUT_K))
    magnitudes = F.pad(x.abs(), [1] * 4)
    for image, i, j in itertools.product(*map(range, (2, 3, 3))):
        seen = magnitudes[image, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 2]
        expected = plain[image, :, i, j] * seen.mean()
        torch.testing.assert_close(scaled[image, :, i, j], expected)
    linear = nn.Linear(5, 4)
    row = torch.randn(3, 5)
    without = BinaryLinear(linear, XNOR_WITHOUT_K, "l")(row) - linear.bias
    found = BinaryLinear(linear, XNOR, "l")(row) - linear.bias
    torch.testing.assert_close(found, without * row.abs().mean(1, keepdim=True))


def test_padding_of_the_same_size_is_known():
    torch.manual_seed(0)
    conv = nn.Conv2d(2, 3, (4, 3), padding="same")
    assert BinaryConv2d(conv, XNOR, "conv")(torch.randn(1, 2, 6, 6)).shape == (1, 3, 6, 6)


def test_an_input_of_another_number_of_channels_names_the_layer():
    layer = BinaryConv2d(nn.Conv2d(3, 2, 3), XNOR, "blocks.1")
    with pytest.raises(LabError, match=r"layer blocks.1 gets an input of \(1, 5, 8, 8\); .*3 of"):
        layer(torch.zeros(1, 5, 8, 8))
    with pytest.raises(LabError, match="layer head gets an input of"):
        BinaryLinear(nn.Linear(4, 2), BNN, "head")(torch.zeros(2, 3, 4))


def test_schemes_that_make_no_sense():
    with pytest.raises(LabError, match="a window of 0"):
        Scheme("mine", window=0)
    with pytest.raises(LabError, match="mine scales inputs that are real"):
        Scheme("mine", scales_inputs=True)
