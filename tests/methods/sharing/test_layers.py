import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize

from labsupport.core.errors import LabError
from labsupport.methods.sharing.layers import chosen, make_plain_value
from labsupport.network.fingerprint import fingerprint


def made():
    layer = nn.Linear(6, 6)
    return nn.ModuleDict({"first": layer, "norm": nn.BatchNorm1d(6), "again": layer})


def test_each_layer_is_chosen_once_with_what_is_given():
    net = nn.Sequential(made(), nn.Conv1d(1, 2, 3))
    assert [(name, given) for name, _, given in chosen(net, 5)] == [("0.first", 5), ("1", 5)]
    assert list(chosen(net, {"1": 2})) == [("1", net[1], 2)]
    assert list(chosen(net[1], 3)) == [("Conv1d", net[1], 3)]


def test_what_cannot_be_chosen_is_named():
    with pytest.raises(LabError, match="a BatchNorm1d has no weights"):
        list(chosen(nn.BatchNorm1d(3), 2))
    with pytest.raises(LabError, match="there is no layer norm; there are first"):
        list(chosen(made(), {"norm": 2}))


@pytest.mark.parametrize("learns", [True, False])
def test_a_computed_weight_becomes_a_parameter(learns):
    layer = parametrizations.weight_norm(nn.Linear(4, 3))
    for parameter in layer.parametrizations.weight.parameters():
        parameter.requires_grad_(learns)
    weight = layer.weight.detach().clone()
    with torch.no_grad():
        make_plain_value(layer)
    assert type(layer) is nn.Linear
    assert not parametrize.is_parametrized(layer)
    assert torch.equal(layer.weight, weight)
    assert layer.weight.requires_grad == learns


def test_a_plain_weight_that_layers_have_in_common_becomes_its_own():
    one, other = nn.Linear(4, 4), nn.Linear(4, 4)
    other.weight = one.weight
    make_plain_value(other)
    assert torch.equal(one.weight, other.weight)
    assert one.weight is not other.weight


@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_made_plain_again_is_described_as_a_new_one(bias):
    layer = nn.Linear(4, 3, bias=bias)
    before = fingerprint(layer)
    parametrize.register_parametrization(layer, "weight", nn.Identity())
    make_plain_value(layer)
    assert fingerprint(layer) == before
