"""Counters from outside say what ours says, and leave the model as it was."""

import pytest
import torch
from made_networks import Twice, mixed
from torch import nn

from labsupport.measure.counters import thop_totals, torch_macs
from labsupport.models import build
from labsupport.models.blocks import BLOCKS
from labsupport.network.cost import cost, parameter_count

GRAY = (1, 28, 28)


@pytest.mark.parametrize(
    ("net", "parameters", "macs"),
    [
        (build("mlp", GRAY, depth=2, width=1024), 1_863_690, 1_861_632),
        (build("mlp", GRAY, depth=3, width=1024), 2_913_290, 2_910_208),
        (build("lenet5", GRAY), 431_080, 2_293_000),
        (build("rules_cnn", GRAY), 1_199_882, 11_992_448),
        (build("pruning_cnn", GRAY), 25_706_186, 29_425_920),
    ],
)
def test_the_networks_of_the_course(net, parameters, macs):
    assert (parameter_count(net), cost(net, GRAY).fp_macs) == (parameters, macs)
    assert thop_totals(net, GRAY) == (macs, parameters)
    assert torch_macs(net, GRAY) == macs


@pytest.mark.parametrize(
    ("net", "shape"),
    [
        (mixed(), (4, 9, 9)),
        (nn.Linear(5, 6), (7, 5)),
        (nn.Linear(5, 6, bias=False), (7, 5)),
        (nn.Conv1d(4, 8, 3, groups=4, stride=2), (4, 11)),
        (Twice(), (6,)),
        (build("mlp", GRAY, depth=4, width=8, init="kaiming"), GRAY),
        (build("pooled_cnn", GRAY), GRAY),
        *[(build("compact", GRAY, block=block, layout="4 6 | 8"), GRAY) for block in BLOCKS],
    ],
)
def test_three_counters_agree(net, shape):
    macs = cost(net, shape).fp_macs
    assert macs > 0
    assert thop_totals(net, shape) == (macs, parameter_count(net))
    assert torch_macs(net, shape) == macs


def test_thop_counts_neither_normalization_nor_pooling():
    net = nn.Sequential(nn.BatchNorm2d(2), nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(1))
    assert thop_totals(net, (2, 8, 8)) == (0, 4)
    assert torch_macs(net, (2, 8, 8)) == 0


def test_the_model_is_left_as_it_was():
    net = mixed().train()
    net[1].eval()  # frozen on purpose
    modes = [module.training for module in net.modules()]
    names = [sorted(vars(module)) for module in net.modules()]
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    thop_totals(net, (4, 9, 9))
    torch_macs(net, (4, 9, 9))
    assert [module.training for module in net.modules()] == modes
    assert [sorted(vars(module)) for module in net.modules()] == names
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
