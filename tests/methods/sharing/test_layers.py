import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize

from labsupport.methods.sharing.layers import make_plain_value
from labsupport.network.fingerprint import fingerprint


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
