import copy

import pytest
import torch
from torch import nn

from labsupport.core.errors import LabError
from labsupport.training import SGD, AdamW, no_bias_decay
from labsupport.training.optimizers import one_group, trainable


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 2))


def plain():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))


def stepped(model, optimizer, steps=3):
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.ones(5, 4)).square().sum().backward()
        optimizer.step()
    return model.state_dict()


@pytest.mark.parametrize(
    ("factory", "expected"),
    [
        (AdamW(), lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1)),
        (AdamW((0.5, 0.9)), lambda p: torch.optim.AdamW(p, 0.01, (0.5, 0.9), weight_decay=0.1)),
        (SGD(), lambda p: torch.optim.SGD(p, 0.01, 0.9, weight_decay=0.1, nesterov=True)),
        (SGD(0.5, False), lambda p: torch.optim.SGD(p, 0.01, 0.5, weight_decay=0.1)),
    ],
)
def test_factories_make_torchs_optimizers(factory, expected):
    ours, theirs = plain(), plain()
    first = stepped(ours, factory(one_group(ours), 0.01, 0.1))
    torch.testing.assert_close(first, stepped(theirs, expected(theirs.parameters())))


def test_biases_and_norms_go_without_decay_and_every_parameter_goes_once():
    model = net()
    decayed, spared = no_bias_decay(model)
    assert {id(p) for p in decayed["params"]} == {id(model[0].weight), id(model[3].weight)}
    assert spared["weight_decay"] == 0
    every = [id(p) for group in (decayed, spared) for p in group["params"]]
    assert sorted(every) == sorted(id(p) for p in model.parameters())


def test_frozen_parameters_and_empty_groups_are_left_out():
    model = net()
    model[0].weight.requires_grad_(False)
    model[3].weight.requires_grad_(False)
    before = copy.deepcopy(no_bias_decay(model))
    (group,) = trainable(no_bias_decay(model))
    assert group["weight_decay"] == 0
    assert len(group["params"]) == len(before[1]["params"])
    with pytest.raises(LabError, match="unfreeze"):
        trainable(one_group(model.requires_grad_(False)))


@pytest.mark.parametrize("momentum", [0, -0.1])
def test_nesterovs_momentum_needs_some(momentum):
    with pytest.raises(LabError, match="nesterov=False"):
        SGD(momentum)
    with pytest.raises(LabError, match="momentum of -1"):
        SGD(-1, nesterov=False)
    SGD(0, nesterov=False)
