"""Quantized layers and networks: what they answer, learn, count and refuse."""

import copy

import pytest
import torch
from made_methods import BRIEF, toy_splits
from made_rules import toy_images, toy_network
from torch import nn

from labsupport.core.errors import LabError
from labsupport.methods.pruning import keep_largest
from labsupport.methods.quantization import (
    QuantizedLayer,
    affine,
    quantize,
    quantize_aware,
    symmetric,
    with_integers,
)
from labsupport.network.cost import cost
from labsupport.network.fingerprint import fingerprint
from labsupport.network.storage import file_bytes, load, save
from labsupport.network.weights import weights_of
from labsupport.training import Recipe, evaluate, fit, predict

LAYERS = ("0", "4", "7")
LONGER = Recipe(epochs=12, batch_size=8, lr=5e-3)


@pytest.fixture(scope="module")
def splits():
    return toy_splits()


@pytest.fixture(scope="module")
def network(splits):
    return fit(toy_network(), splits, LONGER).model


def quantized_layers(network):
    return [module for module in network.modules() if isinstance(module, QuantizedLayer)]


def test_a_layer_computes_what_whole_numbers_give():
    chance = torch.Generator().manual_seed(0)
    layer, x = nn.Linear(9, 4), torch.randn(5, 9, generator=chance)
    inputs, weights = affine(x, 8), symmetric(layer.weight, 8)
    codes, of_weights = inputs.codes(x).long(), weights.codes(layer.weight).long()
    sums = (codes - inputs.zero.long()) @ of_weights.T
    expected = sums * inputs.step * weights.step.flatten() + layer.bias
    torch.testing.assert_close(QuantizedLayer(layer, inputs, weights)(x), expected)


def test_eight_bits_lose_next_to_nothing(network, splits):
    before = fingerprint(network)
    quantized = quantize(network, splits.train, 8)
    assert fingerprint(network) == before
    many = toy_images(2000, seed=9)
    assert abs(evaluate(network, many).accuracy - evaluate(quantized, many).accuracy) < 0.005
    old, new = predict(network, many), predict(quantized, many)
    assert (old.argmax(1) == new.argmax(1)).double().mean() > 0.98


def test_errors_shrink_with_bits(network, splits):
    exact = predict(network, splits.test)
    networks = (quantize(network, splits.train, bits) for bits in (2, 4, 6, 8))
    errors = [(predict(of, splits.test) - exact).norm().item() for of in networks]
    assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize("bits", [2, 5, 8])
def test_weights_have_few_values_in_each_channel(network, splits, bits):
    for layer in quantized_layers(quantize(network, splits.train, bits)):
        assert all(len(row.unique()) < 2**bits for row in layer.weight.flatten(1))


def test_bits_are_for_all_layers_or_by_name(network, splits):
    quantized = quantize(network, splits.train, {"4": 3, "7": 5}, {"7": 8})
    assert isinstance(quantized[0], nn.Conv2d)
    bits = [(of.layer.parametrizations.weight[0].bits, of.inputs.bits) for of in quantized[4::3]]
    assert bits == [(3, 3), (5, 8)]


def test_training_with_the_rounding_wins_back_what_few_bits_lose(network, splits):
    rounded = quantize(network, splits.train, 2)
    aware = quantize_aware(network, splits, LONGER, 2)
    assert evaluate(aware, splits.train).loss < evaluate(rounded, splits.train).loss
    steps = [
        [layer.inputs.log_step.item() for layer in quantized_layers(of)] for of in (rounded, aware)
    ]
    assert all(old != new for old, new in zip(*steps, strict=True))


def test_pruned_weights_stay_pruned(network, splits):
    pruned = keep_largest(network, 0.3)
    trained = quantize_aware(pruned, splits, BRIEF, 4)
    for name in LAYERS:
        zeros = pruned.get_submodule(name).weight == 0
        assert (trained.get_submodule(name).weight[zeros] == 0).all()


def test_work_and_bits_are_those_of_integers(network, splits):
    plain, few = cost(network, (1, 8, 8)), quantize(network, splits.train, 4, 8)
    counted = cost(few, (1, 8, 8))
    assert (counted.int8_macs, counted.fp_macs) == (plain.fp_macs, 0)
    assert counted.additions == plain.additions
    weights, biases = 36 + 36 * 12 + 36, 4 + 12 + 3
    found = weights_of(few)
    assert (found.count, found.activation_bits) == (weights + biases, 8)
    assert found.bits == pytest.approx((4 * weights + 32 * biases) / (weights + biases))


@pytest.mark.parametrize("bits", [3, 8])
def test_stored_as_whole_numbers_it_answers_alike(network, splits, bits, tmp_path):
    quantized = quantize(network, splits.train, bits)
    stored = with_integers(quantized)
    answers = predict(quantized, splits.test)
    assert torch.equal(predict(stored, splits.test), answers)
    save(stored, tmp_path / "net")
    assert torch.equal(predict(load(tmp_path / "net"), splits.test), answers)
    assert fingerprint(with_integers(stored)) == fingerprint(stored)


def test_stored_as_whole_numbers_a_weight_is_a_byte(splits):
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 300), nn.Linear(300, 3))
    quantized = quantize(network, splits.train, 8)
    saved = file_bytes(quantized) - file_bytes(with_integers(quantized))
    assert saved == pytest.approx(3 * (64 * 300 + 300 * 3), rel=0.02)


def test_whole_numbers_stay_in_training(network, splits):
    stored = with_integers(quantize(network, splits.train, 4))
    trained = fit(stored, splits, BRIEF).model
    for old, new in zip(quantized_layers(stored), quantized_layers(trained), strict=True):
        ratio = (new.weight / old.weight).flatten(1).nan_to_num(0)
        torch.testing.assert_close(ratio.amax(1), torch.where(ratio == 0, 9, ratio).amin(1))


@pytest.mark.parametrize("bits", [1, 0, 9, -1, 4.0, True, "4"])
def test_other_bits_are_refused(network, splits, bits):
    with pytest.raises(LabError, match=r"bits for layer 4; give a whole number, 2 to 8"):
        quantize(network, splits.train, {"4": bits})
    with pytest.raises(LabError, match=r"bits for layer 4"):
        quantize(network, splits.train, {"4": 8}, bits)


def test_layers_that_no_grid_fits_are_refused(network, splits):
    broken = copy.deepcopy(network)
    broken[4].weight.data[0, 0] = torch.inf
    with pytest.raises(LabError, match="layer 4 has no weights, or some that are not finite"):
        quantize(broken, splits.train, 8)
    broken = copy.deepcopy(network)
    broken[0].bias.data[0] = torch.nan
    with pytest.raises(LabError, match="layer 4 gets numbers that are not finite"):
        quantize(broken, splits.train, 8)
    empty = nn.Sequential(nn.Flatten(), nn.Linear(64, 0))
    with pytest.raises(LabError, match="layer 1 has no weights"):
        quantize(empty, splits.train, 8)


def test_other_networks_and_images_are_refused(network, splits):
    quantized = quantize(network, splits.train, 8)
    with pytest.raises(LabError, match="is quantized already"):
        quantize(quantized, splits.train, 8)
    with pytest.raises(LabError, match="no linear layer and no convolution"):
        quantize(nn.Sequential(nn.Flatten()), splits.train, 8)
    with pytest.raises(LabError, match="there is no layer 1"):
        quantize(network, splits.train, {"1": 8})
    with pytest.raises(LabError, match="there is no layer 1"):
        quantize(network, splits.train, 8, {"1": 8})
    with pytest.raises(LabError, match="layer 7 has bits for its inputs, but none for its weights"):
        quantize(network, splits.train, {"4": 8}, {"7": 8})
    with pytest.raises(LabError, match="no images to calibrate by"):
        quantize(network, splits.train.take(0), 8)
    with pytest.raises(LabError, match="no layer of this Sequential is quantized"):
        with_integers(network)


class Idle(nn.Module):
    def __init__(self):
        super().__init__()
        self.used, self.idle = nn.Linear(64, 3), nn.Linear(64, 3)

    def forward(self, x):
        return self.used(x.flatten(1))


def test_a_layer_that_no_image_reaches_is_refused_but_may_be_left_out(splits):
    with pytest.raises(LabError, match="no image reaches layer idle; leave it out"):
        quantize(Idle(), splits.train, 8)
    assert isinstance(quantize(Idle(), splits.train, {"used": 8}).idle, nn.Linear)


def test_what_was_frozen_stays_so():
    network = toy_network()
    network[0].requires_grad_(False)
    layers = [
        m
        for m in quantize(network, toy_splits().train, 4, 8).modules()
        if isinstance(m, QuantizedLayer)
    ]
    frozen = [not any(p.requires_grad for p in layer.parameters()) for layer in layers]
    assert frozen == [True] + [False] * (len(layers) - 1)
