"""Which layers of a network become binary, what is around them, what they cost, how they learn."""

from dataclasses import replace

import pytest
import torch
from made_methods import BRIEF, toy_splits
from made_rules import toy_network
from torch import nn

from labsupport.core.errors import LabError
from labsupport.methods.binary import (
    BNN,
    BNN_OF_SIGNS,
    BWN,
    LAB,
    LAB2,
    XNOR,
    XNOR_WITHOUT_K,
    Unscaled,
    after_step,
    binarize,
    binary_layers,
)
from labsupport.models import build
from labsupport.network.cost import cost
from labsupport.network.weights import weights_of
from labsupport.training import fit

MNIST = (1, 28, 28)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def kinds(network):
    """The kinds of all leaves, in order."""
    return [type(m).__name__ for m in network.modules() if not list(m.children())]


def test_xnor_keeps_the_ends_and_puts_a_norm_before_each_binary_layer():
    assert kinds(binarize(build("lenet5", MNIST), XNOR)) == [
        *("Conv2d", "ReLU", "MaxPool2d"),
        *("BatchNorm2d", "BinaryConv2d", "ReLU", "MaxPool2d"),
        *("Flatten", "BatchNorm1d", "BinaryLinear", "ReLU", "Linear"),
    ]


def test_bnn_is_binary_from_end_to_end_without_relu():
    network = binarize(build("lenet_300_100", MNIST), BNN)
    assert kinds(network) == [
        *("Flatten", "BinaryLinear", "Identity"),
        *("BatchNorm1d", "BinaryLinear", "Identity"),
        *("BatchNorm1d", "BinaryLinear", "BatchNorm1d"),
    ]
    first, *others = binary_layers(network).values()
    assert first.scheme.window is None  # real images
    assert {layer.scheme.window for layer in others} == {1.0}
    throughout = binarize(build("lenet_300_100", MNIST), BNN_OF_SIGNS)
    assert {layer.scheme.window for layer in binary_layers(throughout).values()} == {1.0}
    assert kinds(throughout)[:3] == ["Flatten", "BatchNorm1d", "BinaryLinear"]


def test_latent_weights_are_those_of_the_network():
    network = toy_network()
    for name, layer in binary_layers(binarize(network, LAB)).items():
        plain = network.get_submodule(layer.name)
        assert name.startswith(layer.name)
        assert torch.equal(layer.weight, plain.weight)
        assert torch.equal(layer.bias, plain.bias)


def test_a_lone_layer_and_one_that_stands_twice():
    lone = binarize(nn.Linear(4, 3), BNN)
    assert kinds(lone) == ["BinaryLinear", "BatchNorm1d"]
    twice = nn.Linear(4, 4)
    network = binarize(nn.Sequential(nn.Linear(4, 4), twice, twice, nn.Linear(4, 2)), XNOR)
    assert network[1] is network[2]


@pytest.mark.parametrize("scheme", [BNN, XNOR], ids=["BNN", "XNOR"])
def test_modes_stay(scheme):
    layers = nn.Flatten(), nn.Linear(9, 8), nn.ReLU(), nn.Linear(8, 8), nn.Linear(8, 3)
    made = binarize(nn.Sequential(*layers).eval(), scheme)
    assert not any(module.training for module in made.modules())


def test_costs_are_counted_by_kind():
    network = build("lenet5", MNIST)
    plain = cost(network, MNIST)
    ends = 20 * 24 * 24 * 25 + 5000
    xnor = cost(binarize(network, XNOR_WITHOUT_K), MNIST)
    assert (xnor.fp_macs, xnor.binary_ops) == (ends, plain.fp_macs - ends)
    assert xnor.additions == plain.additions
    scaled = cost(binarize(network, XNOR), MNIST)
    assert scaled.fp_macs == ends + 8 * 8 * 25  # a box of 25 for each position
    bwn = cost(binarize(network, BWN), MNIST)
    assert (bwn.fp_macs, bwn.binary_ops) == (ends, 0)
    assert bwn.additions == plain.additions + plain.fp_macs - ends
    bnn = cost(binarize(network, BNN), MNIST)
    assert (bnn.fp_macs, bnn.binary_ops) == (0, plain.fp_macs - 20 * 24 * 24 * 25)


def test_a_weight_is_a_bit():
    network = nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 4, bias=False), nn.Linear(4, 2))
    (layer,) = binary_layers(binarize(network, XNOR)).values()
    assert (layer.weight_count, layer.weight_bits, layer.activation_bits) == (16, 1.0, 1.0)
    found = weights_of(binarize(network, BWN))
    norm = 2 * 4
    assert found.count == 36 + 16 + 10 + norm
    assert found.bits * found.count == 16 + 32 * (36 + 10 + norm)
    assert found.activation_bits == 32


@pytest.mark.parametrize(
    "scheme",
    [BNN, BWN, XNOR, LAB, LAB2, replace(XNOR, window=2.0), replace(XNOR, scale=Unscaled())],
    ids=lambda scheme: scheme.name,
)
def test_training_learns_and_keeps_latent_weights_within_one(scheme):
    splits = toy_splits()
    network = binarize(toy_network(), scheme)
    recipe = replace(BRIEF, epochs=15, lr=0.02, weight_decay=0.0)
    trained = fit(network, splits, recipe, after_step=after_step)
    for layer in binary_layers(trained.model).values():
        assert layer.weight.abs().max() <= 1
    assert trained.history["train_loss"].iloc[-1] < 0.7 * trained.history["train_loss"].iloc[0]


@pytest.mark.parametrize(
    ("layer", "why"),
    [
        (nn.Conv2d(4, 4, 3, groups=2), "it has 2 groups"),
        (nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), "its padding is reflect"),
        (nn.Conv1d(4, 4, 3), "it is a Conv1d"),
        (nn.ConvTranspose2d(4, 4, 3), "it is a ConvTranspose2d"),
        (nn.LazyConv2d(4, 3), "its weights are lazy or sparse"),
    ],
)
def test_a_layer_that_cannot_be_binarized_is_named(layer, why):
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Sequential(layer), nn.Conv2d(4, 2, 1))
    with pytest.raises(LabError, match=rf"layer 1\.0 cannot be binarized: {why}"):
        binarize(network, XNOR)


def test_networks_that_cannot_be_binarized():
    broken = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2))
    broken[1].weight.data[0, 0] = torch.nan
    with pytest.raises(LabError, match=r"layer 1 .* not finite"):
        binarize(broken, BWN)
    broken[1].reset_parameters()
    broken[1].bias.data[0] = torch.inf
    with pytest.raises(LabError, match=r"layer 1 .* not finite"):
        binarize(broken, BWN)
    broken[1].weight = nn.Parameter(torch.eye(2).to_sparse(), requires_grad=False)
    with pytest.raises(LabError, match=r"layer 1 .* lazy or sparse"):
        binarize(broken, BWN)
    with pytest.raises(LabError, match=r"layer Embedding cannot"):
        binarize(nn.Embedding(2, 2), BWN)
    with pytest.raises(LabError, match="keeps the first and the last layer, and there is none"):
        binarize(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), XNOR)
    with pytest.raises(LabError, match="is binary already"):
        binarize(binarize(toy_network(), XNOR), XNOR)
    with pytest.raises(LabError, match="no linear layer and no convolution"):
        binarize(nn.ReLU(), BNN)
