"""The same surgery by an independent library, DepGraph's own implementation."""

import copy

import pytest
import torch
import torch_pruning
from made_nets import NETS, images, made

from labsupport.methods.surgery import channel_groups, prunable, remove_channels


def by_torch_pruning(net, shape, layer, channels):
    """Their network without the same channels; they change the one that they are given."""
    net = copy.deepcopy(net)
    x = torch.zeros(1, *shape).double()
    graph = torch_pruning.DependencyGraph().build_dependency(net, example_inputs=x)
    module = net.get_submodule(layer)
    remove = torch_pruning.prune_conv_out_channels
    if isinstance(module, torch.nn.Linear):
        remove = torch_pruning.prune_linear_out_channels
    graph.get_pruning_group(module, remove, idxs=channels).prune()
    return net


# They take channels of grouped convolutions and shuffles in another manner.
SAME = [name for name in NETS if name not in ("shuffled", "excited")]


@pytest.mark.parametrize("name", SAME)
def test_both_give_the_same_network(name):
    net, shape = made(name)
    x = images(shape)
    groups = prunable(channel_groups(net, shape))
    for group in (groups[0], groups[len(groups) // 2], groups[-1]):
        channels = list(range(0, group.channels, 3))
        ours = remove_channels(net, shape, {group.name: channels})
        theirs = by_torch_pruning(net, shape, group.name, channels)
        assert {n: p.shape for n, p in ours.state_dict().items()} == {
            n: p.shape for n, p in theirs.state_dict().items()
        }
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-9, atol=1e-9)
