"""The search for thresholds: what it loses and saves, measured again on what it gives."""

import copy

import pytest
import torch
from made_spatial import SHAPE, chain, images, made
from torch import nn

from labsupport.core.errors import LabError
from labsupport.data import Split
from labsupport.methods.spatial import snapea, speculate, stacked_savings
from labsupport.network.fingerprint import fingerprint


def deep():
    return nn.Sequential(
        nn.ReLU(), nn.Conv2d(2, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 6, 3), nn.BatchNorm2d(6),
        nn.ReLU(), nn.Flatten(), nn.Linear(120, 3),
    )  # fmt: skip


def given(make=deep, n=40):
    """A network in the exact mode, and images with its own answers as labels."""
    network, x = snapea(made(make), SHAPE), images(n).x
    with torch.no_grad():
        return network, Split(x, network(x).argmax(1))


@torch.no_grad()
@pytest.mark.parametrize("eps", [0.0, 0.1, 1.0])
def test_what_it_finds_loses_no_more_than_eps_and_saves_what_it_says(eps):
    network, split = given()
    before = fingerprint(network)
    found = speculate(network, split, eps, profiled=20, batch_size=16)
    assert fingerprint(network) == before
    loss = (found.network(split.x).argmax(1) != split.y).double().mean().item()
    saved = [stacked_savings(net, split).saved_macs for net in (found.network, network)]
    assert (found.trial.loss, found.trial.saved_macs) == pytest.approx((loss, saved[0] - saved[1]))
    assert loss <= eps
    assert 1 < len(found.passes) <= 1 + 4
    within = found.passes[found.passes["loss"] <= eps]
    assert found.trial.saved_macs == within["saved_macs"].max() > 0
    if eps == 1:
        assert found.passes["rate"].iloc[-1] == 0.4


@torch.no_grad()
def test_at_a_rate_of_0_no_element_of_the_profiled_images_is_lost():
    network, split = given()
    found = speculate(network, split, 0.0, rates=[0.0], profiled=len(split))
    assert any(layer.first for layer in found.network.layers.values())
    assert torch.equal(found.network(split.x), network(split.x))
    assert found.trial.saved_macs > 0


@torch.no_grad()
@pytest.mark.parametrize("rate", [0.1, 0.3])
def test_a_rate_is_the_share_of_the_positive_elements_that_is_lost(rate):
    model = made(chain)
    network, split = given(chain)
    found = speculate(network, split, 1.0, rates=[rate], shares=[1 / 4], profiled=len(split))
    (layer,) = found.network.layers.values()
    assert layer.first == 2
    x = model[:3](split.x)
    y = model[3:6](x)
    positive, lost = (one.sum((0, 2, 3)) for one in (y > 0, layer.predicted(x) & (y > 0)))
    assert torch.all((lost - rate * positive).abs() <= 1)  # there are no parts of elements
    assert positive.max() > 20


def test_it_starts_from_the_exact_mode():
    network, split = given()
    changed = copy.deepcopy(network)
    for layer in changed.layers.values():
        layer.predict_zeros(3, torch.ones(6))
    one, other = (speculate(net, split, 0.05, profiled=20) for net in (network, changed))
    assert one.passes.equals(other.passes)


def test_what_cannot_be_is_refused():
    network, split = given()
    for eps in (-0.01, float("nan")):
        with pytest.raises(LabError, match=f"eps of {eps}"):
            speculate(network, split, eps)
    for wrong in ({"rates": []}, {"shares": []}, {"rates": [1.5]}, {"shares": [-0.5]}):
        with pytest.raises(LabError, match="from 0 to 1"):
            speculate(network, split, 0.0, **wrong)
    with pytest.raises(LabError, match="no images"):
        speculate(network, images(0), 0.0)
    with pytest.raises(LabError, match="batch size"):
        speculate(network, split, 0.0, profiled=0)
