"""How many weights a network has, and of how many bits."""

import math

import pytest
import torch
from made_low_bit import PackedLinear
from torch import nn
from torch.nn.utils import parametrizations

from labsupport.core.errors import LabError
from labsupport.network.weights import Weights, parameter_count, weighted_layers, weights_of


def test_weights_are_counted_by_their_type():
    net = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2).half())
    assert weights_of(net) == Weights(15 + 8, (15 * 32 + 8 * 16) / 23, (15 * 32 + 8 * 16) / 23)


def test_shared_weights_count_once():
    layer, other = nn.Linear(4, 4), nn.Linear(4, 4)
    other.weight = layer.weight
    assert parameter_count(nn.Sequential(layer, layer, other)) == 16 + 4 + 4


def test_packed_weights_are_what_they_say():
    layer = nn.Linear(9, 2)
    net = nn.Sequential(nn.Linear(9, 9, bias=False), PackedLinear(layer))
    assert weights_of(net) == Weights(81 + 18, (81 * 32 + 18) / 99, (81 * 32 + 18) / 99)


def test_parametrized_weights_count_as_those_they_are_made_of():
    layer = parametrizations.weight_norm(nn.Linear(4, 3))
    assert parameter_count(layer) == sum(p.numel() for p in layer.parameters()) == 3 + 12 + 3


def test_a_network_without_weights_has_no_bits():
    nothing = weights_of(nn.Sequential(nn.ReLU(), nn.Flatten()))
    assert nothing.count == 0
    assert math.isnan(nothing.bits)
    assert weights_of(nn.Sequential(nn.Linear(2, 2, dtype=torch.float64))).bits == 64


def made():
    layer = nn.Linear(6, 6)
    return nn.ModuleDict({"first": layer, "norm": nn.BatchNorm1d(6), "again": layer})


def test_each_layer_is_chosen_once_with_what_is_given():
    net = nn.Sequential(made(), nn.Conv1d(1, 2, 3))
    assert [(name, given) for name, _, given in weighted_layers(net, 5)] == [
        ("0.first", 5),
        ("1", 5),
    ]
    assert list(weighted_layers(net, {"1": 2})) == [("1", net[1], 2)]
    assert list(weighted_layers(net[1], 3)) == [("Conv1d", net[1], 3)]


def test_what_cannot_be_chosen_is_named():
    with pytest.raises(LabError, match="a BatchNorm1d has no linear layer and no convolution"):
        list(weighted_layers(nn.BatchNorm1d(3), 2))
    with pytest.raises(LabError, match="there is no layer norm; there are first"):
        list(weighted_layers(made(), {"norm": 2}))
