import math

import pytest
import torch
from made_methods import BRIEF, toy_splits
from made_rules import toy_network
from torch import nn
from torch.nn.utils import parametrizations, parametrize

from labsupport.core.errors import LabError
from labsupport.methods.pruning import magnitude, sparsity
from labsupport.methods.sharing import (
    Shared,
    at_random,
    density,
    linear,
    share,
    shared_layers,
    without_codebooks,
)
from labsupport.network.fingerprint import fingerprint
from labsupport.network.weights import Weights, weights_of
from labsupport.training import fit

IMAGES = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(1))
LAYERS = ("0", "4", "7")


def net():
    return toy_network().eval()


def distinct(layer):
    return len(layer.weight[layer.weight != 0].unique())


@pytest.mark.parametrize("start", [linear, density, at_random(0)])
@pytest.mark.parametrize("bits", [1, 2, 4])
def test_a_layer_has_so_many_weights_and_the_zeros_that_it_had(bits, start):
    pruned = magnitude(net(), 0.3)
    before = fingerprint(pruned)
    shared = share(pruned, bits, start)
    assert fingerprint(pruned) == before
    assert tuple(shared_layers(shared)) == LAYERS
    for name in LAYERS:
        old, new = pruned.get_submodule(name), shared.get_submodule(name)
        assert distinct(new) <= 2**bits
        assert torch.equal(new.weight == 0, old.weight == 0)
    assert sparsity(shared) == sparsity(pruned)


def test_a_weight_is_the_mean_of_those_that_share_it():
    model = net()
    shared = share(model, 2)
    for name in LAYERS:
        old, new = model.get_submodule(name).weight, shared.get_submodule(name).weight
        for value in new.unique():
            torch.testing.assert_close(old[new == value].mean(), value)


def test_more_bits_are_nearer_to_the_weights():
    model = net()
    errors = [(share(model, bits)[4].weight - model[4].weight).norm().item() for bits in (1, 3, 5)]
    assert errors[0] > errors[1] > errors[2] > 0


def test_the_gradient_of_a_centroid_is_the_sum_over_its_weights():
    shared = share(magnitude(net(), 0.3), 2)
    plain = without_codebooks(shared)
    for model in (shared, plain):
        model(IMAGES).square().sum().backward()
    for name in LAYERS:
        codes = shared_layers(shared)[name].codes
        found = shared.get_submodule(name).parametrizations.weight.original.grad
        weights = plain.get_submodule(name).weight.grad
        sums = torch.stack([weights[codes == code].sum() for code in range(1, len(found) + 1)])
        torch.testing.assert_close(found, sums)


def test_training_moves_centroids_and_no_code():
    shared = share(magnitude(net(), 0.3), 2)
    trained = fit(shared, toy_splits(), BRIEF).model
    for name in LAYERS:
        old, new = shared.get_submodule(name), trained.get_submodule(name)
        assert not torch.equal(old.weight, new.weight)
        assert torch.equal(old.weight == 0, new.weight == 0)
        assert distinct(new) <= 4
        codes = (shared_layers(model)[name].codes for model in (shared, trained))
        assert torch.equal(*codes)


def test_layers_get_bits_by_name_and_others_stay():
    model = net()
    shared = share(model, {"4": 3, "7": 1})
    assert tuple(shared_layers(shared)) == ("4", "7")
    assert [distinct(shared[i]) for i in (4, 7)] == [8, 2]
    assert torch.equal(shared[0].weight, model[0].weight)


def test_without_codebooks_it_answers_alike():
    model = net()
    shared = share(model, 2)
    plain = without_codebooks(shared)
    assert torch.equal(plain(IMAGES), shared(IMAGES))
    assert plain.state_dict().keys() == model.state_dict().keys()
    assert not shared_layers(plain)
    assert tuple(shared_layers(shared)) == LAYERS  # copies share torch's classes
    assert fingerprint(without_codebooks(plain)) == fingerprint(plain)


def test_what_is_shared_is_shared_again():
    shared = share(net(), 3)
    assert fingerprint(share(shared, 3)) == fingerprint(shared)
    fewer = share(shared, 1)
    assert distinct(fewer[4]) == 2
    assert len(fewer[4].parametrizations.weight) == 1


def test_computed_weights_are_shared_as_they_are():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.Linear(4, 3))
    parametrizations.weight_norm(model[1])
    parametrize.register_parametrization(model[1], "bias", nn.Tanh())
    shared = share(model, 2)
    again = without_codebooks(magnitude(shared, 0.5))
    assert torch.equal(shared[1].bias, model[1].bias)
    assert distinct(shared[1]) == 4
    assert sparsity(again) == pytest.approx(0.5, abs=0.01)
    assert parametrize.is_parametrized(again[1], "bias")


def test_frozen_weights_stay_frozen_and_others_do_not():
    model = net()
    model[4].weight.requires_grad_(False)
    with torch.no_grad():
        shared = share(magnitude(model, 0.2), 2)
    learns = [shared[i].parametrizations.weight.original.requires_grad for i in (0, 4, 7)]
    assert learns == [True, False, True]


def test_weights_in_common_are_shared_for_each_layer_by_itself():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 3))
    model[2].weight = model[1].weight
    shared = share(model, {"2": 2})
    assert torch.equal(shared[1].weight, model[1].weight)
    assert distinct(shared[2]) == 4


def test_a_lone_layer_and_other_types_of_numbers():
    layer = nn.Linear(30, 20).bfloat16()
    shared = share(layer, 3)
    assert shared.weight.dtype == torch.bfloat16
    assert distinct(shared) == 8
    assert tuple(shared_layers(shared)) == ("",)
    assert torch.equal(without_codebooks(shared).weight, shared.weight)


def test_weights_that_are_set_become_the_means_of_their_codes():
    shared = share(nn.Linear(2, 2, bias=False), 1)
    parametrized = Shared(torch.tensor([[1, 2], [1, 0]], dtype=torch.int16), 3)
    means = parametrized.right_inverse(torch.tensor([[1.0, 5.0], [3.0, 7.0]]))
    assert means.tolist() == [2, 5, 0]
    assert parametrized(means).tolist() == [[2, 5], [2, 0]]
    shared.weight = torch.ones(2, 2)
    assert shared.weight.tolist() == [[1, 1], [1, 1]]


@pytest.mark.parametrize("bits", [0, 9, -1, 2.5, 2.0, True, "4", None])
def test_bits_that_cannot_be_are_refused(bits):
    for given in (bits, {"4": bits}):
        with pytest.raises(LabError, match=f"{bits!r} bits for layer"):
            share(net(), given)


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda weight: weight.fill_(0), "layer 4 has no weights other than zero"),
        (lambda weight: weight[0, 0].fill_(float("nan")), "layer 4 has weights .* not finite"),
        (lambda weight: weight[0, 0].fill_(float("inf")), "layer 4 has weights .* not finite"),
        (lambda weight: weight[1:].fill_(0), "layer 4 has 36 weights .* for 64 centroids"),
    ],
)
def test_a_layer_that_has_no_groups_is_refused_by_name(spoil, problem):
    model = net()
    spoil(model[4].weight.data)
    before = fingerprint(model)
    with pytest.raises(LabError, match=problem):
        share(model, {"4": 6})
    assert fingerprint(model) == before


def test_networks_without_such_layers_are_refused():
    with pytest.raises(LabError, match="a Flatten has no linear layer and no convolution"):
        share(nn.Flatten(), 2)
    with pytest.raises(LabError, match="there is no layer 1; there are 0, 4, 7"):
        share(net(), {"1": 2})


def test_shared_weights_are_counted_with_the_bits_of_their_codes_and_codebook():
    plain, shared = net(), share(net(), 2)
    biases = sum(plain.get_submodule(name).bias.numel() for name in LAYERS)
    looked_up = {name: plain.get_submodule(name).weight.numel() for name in LAYERS}
    bits = 32 * biases + sum(n * math.log2(5) + 4 * 32 for n in looked_up.values())
    number = biases + sum(looked_up.values())
    assert weights_of(plain) == Weights(number, 32, 32)
    assert weights_of(shared) == Weights(number, pytest.approx(bits / number), 32)
