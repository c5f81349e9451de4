import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_nets import NETS, images, made
from torch import nn

from labsupport.core.errors import LabError
from labsupport.methods.surgery import (
    channel_groups,
    mask_channels,
    prunable,
    remove_channels,
    shrink,
    widths,
)
from labsupport.network.cost import layer_costs


def some_of(groups, seed, share=0.5):
    """A part of each group's channels, never all."""
    draw = torch.Generator().manual_seed(seed)
    return {
        group.name: torch.randperm(group.channels, generator=draw)[
            : max(1, int(share * group.channels))
        ].tolist()
        for group in groups
        if group.channels > 1
    }


@pytest.mark.parametrize("name", NETS)
def test_removed_is_masked(name):
    net, shape = made(name)
    removed = some_of(prunable(channel_groups(net, shape)), seed=1)
    smaller, masked = (f(net, shape, removed) for f in (remove_channels, mask_channels))
    x = images(shape)
    with torch.inference_mode():
        torch.testing.assert_close(smaller(x), masked(x), rtol=1e-9, atol=1e-9)
        assert not torch.allclose(smaller(x), net(x))


@pytest.mark.parametrize("name", NETS)
def test_removed_in_two_steps_is_removed_in_one(name):
    net, shape = made(name)
    group = prunable(channel_groups(net, shape))[0]
    once = remove_channels(net, shape, {group.name: [0, 2]})
    twice = remove_channels(
        remove_channels(net, shape, {group.name: [0]}), shape, {group.name: [1]}
    )
    assert widths(once, shape)[group.name] == group.channels - 2
    assert once.state_dict().keys() == twice.state_dict().keys()
    for one, two in zip(once.state_dict().values(), twice.state_dict().values(), strict=True):
        assert torch.equal(one, two)


@given(seed=st.integers(0, 10_000), share=st.floats(0, 0.99))
@settings(max_examples=20)
def test_any_part_of_any_group_can_go(seed, share):
    net, shape = made("residual", seed)
    groups = prunable(channel_groups(net, shape))
    removed = some_of(groups, seed, share)
    smaller = remove_channels(net, shape, removed)
    assert widths(smaller, shape) == {g.name: g.channels - len(removed[g.name]) for g in groups}
    torch.testing.assert_close(
        smaller(images(shape)), mask_channels(net, shape, removed)(images(shape))
    )


def test_what_is_saved_is_what_the_formula_says():
    net, shape = made("rules_cnn")
    smaller = remove_channels(net, shape, {"0": range(20), "2": range(0, 64, 2), "6": [5]})
    after = layer_costs(smaller, shape)["macs"].tolist()
    positions = 6 * 6, 4 * 4
    assert after == [
        positions[0] * 9 * 12, 0, positions[1] * 9 * 12 * 32, 0, 0, 0, 4 * 32 * 127, 0, 0, 127 * 3,
    ]  # fmt: skip
    assert (smaller[0].out_channels, smaller[2].in_channels, smaller[2].out_channels) == (
        12,
        12,
        32,
    )
    assert (smaller[6].in_features, smaller[6].out_features) == (128, 127)


@pytest.mark.parametrize("change", [remove_channels, mask_channels])
def test_the_network_stays_as_it_was(change):
    net, shape = made("resnet10")
    before = copy.deepcopy(net.state_dict())
    changed = change(net, shape, {"conv1": [0, 1]})
    with torch.no_grad():
        for parameter in changed.parameters():
            parameter.zero_()
    assert all(torch.equal(before[name], now) for name, now in net.state_dict().items())


def test_a_smaller_network_trains_on():
    net, shape = made("plain")
    smaller = remove_channels(net, shape, {"0": [0], "4": [1, 2]}).train()
    smaller[9].weight.requires_grad_(False)
    again = remove_channels(smaller, shape, {"0": [0]})
    again(images(shape)).sum().backward()
    assert again[0].weight.grad.shape == (2, 1, 3, 3)
    assert again[9].weight.grad is None
    assert all(isinstance(p, nn.Parameter) for p in (again[0].weight, again[1].weight))
    assert again.training


def test_a_group_named_by_two_of_its_layers_loses_what_both_name():
    net, shape = made("residual")
    both = remove_channels(net, shape, {"stem": [0, 1], "blocks.1.conv2": [1, 5]})
    one = remove_channels(net, shape, {"stem": [0, 1, 5]})
    assert torch.equal(both(images(shape)), one(images(shape)))


def test_nothing_to_remove_leaves_a_copy():
    net, shape = made("plain")
    same = remove_channels(net, shape, {"0": []})
    assert same is not net
    assert torch.equal(same(images(shape)), net(images(shape)))


@pytest.mark.parametrize("change", [remove_channels, mask_channels])
@pytest.mark.parametrize(
    ("removed", "problem"),
    [
        ({"0": range(4)}, "no channel of 0 would be left"),
        ({"0": [0, 4]}, "0 has no channel 4; choose from 0 to 3"),
        ({"4": [-1]}, "4 has no channel -1"),
        ({"12": [0]}, "channels of 12 cannot be removed"),
        ({"nothing": [0]}, "'nothing' has no filters"),
    ],
)
def test_what_cannot_be_removed_is_refused_by_name(change, removed, problem):
    net, shape = made("plain")
    with pytest.raises(LabError, match=problem):
        change(net, shape, removed)


def test_a_group_cannot_be_emptied_through_two_of_its_layers():
    net, shape = made("residual")
    with pytest.raises(LabError, match=r"no channel of blocks\.0\.conv2 would be left"):
        remove_channels(net, shape, {"stem": range(3), "blocks.0.conv2": range(3, 6)})


@pytest.mark.parametrize("name", ["plain", "resnet10"])
def test_a_shrunk_network_takes_the_weights_of_a_pruned_one(name):
    net, shape = made(name)
    pruned = remove_channels(net, shape, some_of(prunable(channel_groups(net, shape)), seed=2))
    shell = shrink(net, shape, widths(pruned, shape))
    shell.load_state_dict(pruned.state_dict())
    assert torch.equal(shell(images(shape)), pruned(images(shape)))


@pytest.mark.parametrize("width", [0, 5])
def test_a_width_that_cannot_be_is_refused(width):
    net, shape = made("plain")
    with pytest.raises(LabError, match=f"0 has 4 channels, not {width}"):
        shrink(net, shape, {"0": width})
