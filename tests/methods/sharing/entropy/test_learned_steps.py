"""Weights in whole steps: exact multiples, gradients as if not rounded, inputs left alone."""

import math

import pytest
import torch
from made_rules import toy_images, toy_network
from torch import nn

from labsupport.core.errors import LabError
from labsupport.methods.sharing.entropy import LearnedStep, rounded, steps, with_steps
from labsupport.methods.sharing.entropy.steps import straight_through
from labsupport.network.fingerprint import fingerprint

IMAGES = toy_images(5, 0).x


def test_weights_and_biases_are_multiples_of_their_steps():
    net = with_steps(toy_network(), 4)
    known = steps(net)
    assert list(known) == [f"{layer}.{kind}" for layer in (0, 4, 7) for kind in ("weight", "bias")]
    for name, step in known.items():
        value = getattr(net.get_submodule(name.partition(".")[0]), name.partition(".")[2])
        codes = value / step.step
        torch.testing.assert_close(codes, codes.round(), rtol=0, atol=1e-5)
        assert codes.abs().max().round() == 7


def test_each_value_goes_to_the_nearest_multiple():
    step = LearnedStep(0.25)
    values = torch.linspace(-2, 2, 101)
    assert (step(values) - values).abs().max() <= 0.125 + 1e-6
    assert torch.equal(step(torch.tensor([0.1, -0.1])), torch.zeros(2))
    assert not torch.signbit(step(torch.tensor([-0.1]))).any()  # no negative zero for the file


def test_a_step_has_sixteen_bits():
    step = LearnedStep(0.1).step
    assert torch.equal(step, step.bfloat16().float())
    assert step.item() == pytest.approx(0.1, rel=2**-8)


def test_the_gradient_of_the_values_passes_and_that_of_the_step_is_what_was_rounded_off():
    """Esser et al. 2020, equation 3, and the chain rule of the logarithm."""
    step, values = LearnedStep(0.5), torch.tensor([0.6, -1.1, 0.1], requires_grad=True)
    step(values).sum().backward()
    assert torch.equal(values.grad, torch.ones(3))
    ratios = values.detach() / 0.5
    expected = 0.5 * (ratios.round() - ratios).sum()
    assert step.log_step.grad.item() == pytest.approx(expected.item(), rel=1e-5)


def test_straight_through_is_exact():
    values = torch.rand(1000) * 1e3
    assert torch.equal(straight_through(values, values.round()), values.round())


def test_the_input_stays_and_the_result_answers_as_its_plain_copy():
    net = toy_network().eval()
    before = fingerprint(net)
    stepped = with_steps(net, {"0": 3, "4": 8})
    plain = rounded(stepped)
    assert fingerprint(net) == before
    assert torch.equal(plain(IMAGES), stepped(IMAGES))
    assert [type(layer) for layer in plain] == [type(layer) for layer in net]
    assert fingerprint(rounded(net)) == before
    assert torch.equal(plain[7].weight, net[7].weight)
    assert list(steps(stepped)) == ["0.weight", "0.bias", "4.weight", "4.bias"]


def test_more_bits_are_nearer():
    net = toy_network().eval()
    off = [(with_steps(net, bits)(IMAGES) - net(IMAGES)).abs().max() for bits in (2, 4, 6, 8)]
    assert off == sorted(off, reverse=True)


def test_a_layer_without_bias_and_one_of_zeros():
    layer = nn.Linear(3, 2, bias=False)
    nn.init.zeros_(layer.weight)
    stepped = with_steps(layer)
    assert list(steps(stepped)) == ["weight"]
    assert torch.equal(stepped.weight, torch.zeros(2, 3))


@pytest.mark.parametrize("step", [0.0, -1.0, math.nan, math.inf])
def test_a_step_that_cannot_be_is_refused(step):
    with pytest.raises(LabError, match=f"a step of {step}; give a finite one above 0"):
        LearnedStep(step)


@pytest.mark.parametrize("bits", [0, 1, 9, 2.0, True, "4", None])
def test_bits_that_cannot_be_are_refused(bits):
    with pytest.raises(LabError, match="bits for the weight of layer 0; give a whole number, 2"):
        with_steps(toy_network(), bits)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("kind", ["weight", "bias"])
def test_what_is_not_finite_is_refused(kind, value):
    net = toy_network()
    getattr(net[4], kind).data.flatten()[0] = value
    with pytest.raises(LabError, match=f"the {kind} of layer 4 is empty or not finite"):
        with_steps(net)


def test_an_empty_layer_and_a_network_without_layers_are_refused():
    with (
        pytest.warns(match="zero-element"),
        pytest.raises(LabError, match="is empty or not finite"),
    ):
        with_steps(nn.Linear(0, 3))
    with pytest.raises(LabError, match="has no linear layer"):
        with_steps(nn.ReLU())


def test_what_was_frozen_stays_so():
    network = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    network[0].requires_grad_(False)
    learns = {
        name: step.log_step.requires_grad for name, step in steps(with_steps(network)).items()
    }
    assert learns == {"0.weight": False, "0.bias": False, "1.weight": True, "1.bias": True}
