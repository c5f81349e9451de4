"""The profile per layer and the roofline: counted figures exactly, clocked ones by relation."""

import pandas as pd
import pytest
import torch
from torch import nn

from labsupport.measure.roofline import (
    WHOLE,
    Peaks,
    layer_calls,
    profile_layers,
    roofline,
)
from labsupport.methods.pruning import magnitude
from labsupport.records.scorecard import is_clocked


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 4))


def test_each_layer_gets_its_real_input(net):
    x = torch.randn(5, 8)
    calls = layer_calls(net, x)
    hidden = net[0](x)
    assert list(calls) == ["0", "1", "2"]
    assert torch.equal(calls["0"].x, x)
    assert torch.allclose(calls["1"].x, hidden)
    assert torch.allclose(calls["2"].x, hidden.relu())


def test_a_later_layer_that_works_in_place_does_not_spoil_an_input():
    model = nn.Sequential(nn.Identity(), nn.ReLU(inplace=True))
    x = torch.tensor([[-1.0, 2.0]])
    assert layer_calls(model, x)["0"].x.tolist() == [[-1.0, 2.0]]


def test_bytes_and_intensity_by_hand(net):
    call = layer_calls(net, torch.zeros(5, 8))["0"]
    assert call.macs == 5 * 8 * 6
    assert call.moved_bytes == 4 * (8 * 6 + 6 + 5 * 8 + 5 * 6)
    assert call.intensity == call.macs / call.moved_bytes


def test_statistics_of_a_batch_norm_are_moved_as_well():
    x = torch.zeros(5, 3)
    call = layer_calls(nn.Sequential(nn.BatchNorm1d(3)), x)["0"]
    assert call.moved_bytes == 4 * (4 * 3 + 2 * 5 * 3) + 8  # 8: how many batches it has seen


def test_a_masked_layer_is_a_layer_that_moves_its_mask_as_well(net):
    x = torch.zeros(5, 8)
    pruned = magnitude(net, 0.5)
    masked, plain = layer_calls(pruned, x), layer_calls(net, x)
    masks = {name: sum(b.nbytes for b in pruned.get_submodule(name).buffers()) for name in plain}
    assert masks["0"] > 0
    assert list(masked) == list(plain)
    for name in plain:
        assert masked[name].macs == plain[name].macs
        assert masked[name].moved_bytes == plain[name].moved_bytes + masks[name]


def test_a_layer_used_twice_is_two_calls():
    layer = nn.Linear(3, 3)
    calls = layer_calls(nn.Sequential(nn.Sequential(layer), nn.ReLU(), layer), torch.zeros(1, 3))
    assert len(calls) == 3
    assert sum(call.macs for call in calls.values()) == 18


def test_profile_has_all_layers_and_the_whole(net):
    profile = profile_layers(net, torch.zeros(2, 8), rounds=2, calls=2)
    assert list(profile["name"]) == ["0", "1", "2", WHOLE]
    assert profile["share_pct_clocked"].iloc[:-1].sum() == pytest.approx(100)
    assert profile["macs"].iloc[-1] == profile["macs"].iloc[:-1].sum() == 2 * (48 + 24)


def test_counted_columns_repeat(net):
    first, second = (profile_layers(net, torch.zeros(2, 8), rounds=1, calls=1) for _ in range(2))
    counted = [column for column in first if not is_clocked(column)]
    assert counted == ["name", "kind", "macs", "moved_bytes", "macs_per_byte"]
    pd.testing.assert_frame_equal(first[counted], second[counted])


def test_layers_under_their_roof():
    profile = pd.DataFrame(
        {
            "name": ["fc", "relu", "conv", WHOLE],
            "macs": [10, 0, 10, 20],
            "moved_bytes": [40, 40, 400, 480],
            "macs_per_byte": [0.25, 0.0, 8.0, 1.0],
            "gmacs_per_s_clocked": [4.0, 0.0, 50.0, 9.0],
        }
    )
    table = roofline(profile, Peaks(100, {40: 40, 400: 20})).set_index("name")
    assert list(table.index) == ["fc", "conv"]
    assert list(table["gbytes_per_s_clocked"]) == [40, 20]
    assert list(table["roof_gmacs_per_s_clocked"]) == [10, 100]
    assert list(table["of_roof_pct_clocked"]) == [40, 50]
    assert list(table["bound_clocked"]) == ["memory", "arithmetic"]
