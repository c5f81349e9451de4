"""One fingerprint for equal networks, another for any other."""

import copy

import pytest
import torch
from stored_networks import Scaled, small
from torch import nn

from labsupport.core.errors import LabError
from labsupport.methods.early_exit import attach_branches
from labsupport.methods.pruning import magnitude
from labsupport.network.fingerprint import fingerprint
from labsupport.network.storage import load, save


@pytest.fixture
def model():
    return small()


def test_equal_networks_have_the_same_fingerprint_in_any_mode(model):
    mark = fingerprint(model)
    assert len(mark) == 16
    assert int(mark, 16) >= 0
    assert mark == fingerprint(small()) == fingerprint(copy.deepcopy(model))
    assert mark == fingerprint(model.eval()) == fingerprint(model.train())
    assert mark == fingerprint(model.to(memory_format=torch.channels_last))
    assert mark == fingerprint(model.requires_grad_(False))


@pytest.mark.parametrize("name", list(small().state_dict()))
def test_any_changed_value_changes_the_fingerprint(model, name):
    mark = fingerprint(model)
    value = model.state_dict()[name].view(-1)
    if value.is_floating_point():
        value[-1] = torch.nextafter(value[-1], torch.tensor(9.0))
    else:
        value += 1
    assert fingerprint(model) != mark


def test_what_is_no_weight_changes_the_fingerprint_too(model):
    marks = {fingerprint(model), fingerprint(copy.deepcopy(model).double())}
    model[0].stride = (2, 2)
    marks.add(fingerprint(model))
    model[0].stride, model[2].inplace = (1, 1), True
    marks.add(fingerprint(model))
    marks.add(fingerprint(nn.Sequential(*model)[:-1]))
    marks.add(fingerprint(model[:-1].append(Scaled(model[-1]))))
    assert len(marks) == 6


def test_layers_in_another_order_are_another_network():
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    assert fingerprint(nn.Sequential(first, second)) != fingerprint(nn.Sequential(second, first))


def test_shared_weights_are_told_from_equal_ones():
    tied = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    tied[1].load_state_dict(tied[0].state_dict())
    equal = fingerprint(tied)
    tied[1].weight = tied[0].weight
    assert fingerprint(tied) != equal


def test_thresholds_masks_and_running_statistics_count(model):
    branchy = attach_branches(
        nn.Sequential(nn.Flatten(), nn.Linear(4, 2), nn.ReLU()), {1: nn.Linear(4, 2)}
    )
    marks = {fingerprint(branchy), fingerprint(branchy.with_thresholds([0.5]))}
    marks |= {fingerprint(magnitude(model, share)) for share in (0.0, 0.5)} | {fingerprint(model)}
    model.train()(torch.randn(2, 1, 6, 6))
    marks.add(fingerprint(model))
    assert len(marks) == 6


def test_a_network_that_was_saved_keeps_its_fingerprint(model, tmp_path):
    save(model, tmp_path / "n")
    assert fingerprint(load(tmp_path / "n")) == fingerprint(model)


def test_the_order_in_which_parameters_came_makes_no_difference():
    usual = nn.Linear(3, 2)
    late = nn.Linear(3, 2, bias=False)
    bias, weight = usual.bias, usual.weight
    del late.weight, late.bias
    late.bias, late.weight = bias, weight
    assert fingerprint(late) == fingerprint(usual)
    late.bias, late.weight = nn.Parameter(bias.detach() + 1), weight
    assert fingerprint(late) != fingerprint(usual)


def test_what_has_no_description_has_no_fingerprint(model):
    model[2].act = lambda x: x
    with pytest.raises(LabError, match="act of 2: "):
        fingerprint(model)
