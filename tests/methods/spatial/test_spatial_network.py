import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from made_spatial import SHAPE, Residual, by_hand, chain, images, made, mask_by_chance
from torch import nn
from torch.nn import functional as F

from labsupport.core.errors import LabError
from labsupport.methods.early_exit import attach_branches, side_branch
from labsupport.methods.pruning import magnitude
from labsupport.methods.spatial import (
    Granularity,
    Mask,
    SpatialNetwork,
    disabled,
    everything,
    spatialize,
)
from labsupport.network.cost import cost, mean_cost
from labsupport.network.fingerprint import fingerprint
from labsupport.network.storage import load, save

NETS = {"chain": chain, "residual": Residual}
LOAD = """
import json, sys, torch
from labsupport.network.storage import load
torch.set_num_threads(1)
network = load(sys.argv[1])
masks = {name: [mask.p, mask.codes.tolist()] for name, mask in network.masks.items()}
enabled = [layer.enabled for layer in network.layers.values()]
with torch.no_grad():
    logits = network(torch.load(sys.argv[2], weights_only=True)).tolist()
print(json.dumps([logits, masks, enabled]))
"""


@pytest.fixture(params=NETS)
def model(request):
    return made(NETS[request.param])


@pytest.fixture
def split():
    return images()


def masked_by_chance(model, p=2, granularity=Granularity.PATCH):
    network = spatialize(model, SHAPE)
    for seed, layer in enumerate(network.layers.values()):
        layer.set_mask(mask_by_chance(layer.ofmap, granularity, p, seed))
    return network


def chain_by_hand(net, masks, x):
    """What the network gives with masks, and the positions of its layers that they save."""
    first, one = by_hand(F.relu(net[0](x)), masks["0"])
    second, two = by_hand(F.relu(net[4](net[3](net[2](first)))), masks["3"])
    return net[7](net[6](second)), {"0": one, "3": two}


def residual_by_hand(net, masks, x):
    x, saved = by_hand(F.relu(net.stem(x)), masks["stem"])
    x, saves = F.max_pool2d(x, 3, 1, 1), {"stem": saved}
    for i, block in enumerate(net.blocks):
        name = f"blocks.{i}.conv1"
        inner, saves[name] = by_hand(F.relu(block.norm1(block.conv1(x))), masks[name])
        name = f"blocks.{i}.conv2"
        x, saves[name] = by_hand(F.relu(block.conv2(inner) + block.shortcut(x)), masks[name])
    return net.head(x.mean((2, 3))), saves


BY_HAND = {nn.Sequential: chain_by_hand, Residual: residual_by_hand}
# MACs of a position in all convolutions that make it.
MACS = {
    nn.Sequential: {"0": 2 * 9, "3": 2 * 4},
    Residual: {
        "stem": 2 * 9, "blocks.0.conv1": 4 * 9, "blocks.0.conv2": 4 * 9,
        "blocks.1.conv1": 4 * 9, "blocks.1.conv2": 6 * 9 + 4,
    },
}  # fmt: skip


@torch.no_grad()
@pytest.mark.parametrize("p", [2, 3, 4])
@pytest.mark.parametrize("granularity", Granularity)
def test_answers_and_cost_are_those_of_masks_applied_by_hand(model, split, p, granularity):
    network = masked_by_chance(model, p, granularity)
    expected, saved = BY_HAND[type(model)](model, network.masks, split.x)
    torch.testing.assert_close(network(split.x), expected)
    macs = MACS[type(model)]
    assert {name: layer.macs for name, layer in network.layers.items()} == macs
    work = sum(macs[name] * sum(saved[name]) for name in macs) / len(split)
    assert work > 0
    for batch_size in (4, 100):
        counted = mean_cost(network, split, batch_size).fp_macs
        assert counted == pytest.approx(cost(model, SHAPE).fp_macs - work)


def test_the_network_given_stays_as_it_was_and_the_disabled_copy_answers_like_it(model, split):
    before, expected, x = fingerprint(model), model(split.x), split.x
    model.train()
    next(module for module in model.modules() if isinstance(module, nn.Conv2d)).eval()
    modes = [module.training for module in model.modules()]
    network = masked_by_chance(model)
    frozen = [name for name, module in network.body.named_modules() if not module.training]
    assert frozen == [name for name, module in model.named_modules() if not module.training]
    assert not torch.equal(network.eval()(x), expected)
    network.disable()
    assert torch.equal(network(x), expected)
    assert cost(network, SHAPE) == cost(model, SHAPE)
    network.train()
    network(x).sum().backward()
    assert fingerprint(model) == before
    assert [module.training for module in model.modules()] == modes
    assert all(parameter.grad is None for parameter in model.parameters())


def test_layers_are_switched_one_by_one(split):
    model = made(Residual)
    network, x = masked_by_chance(model), split.x
    full = network(x)
    network.disable()
    network.enable("stem", "blocks.1.shortcut")
    enabled = [name for name, layer in network.layers.items() if layer.enabled]
    assert enabled == ["stem", "blocks.1.conv2"]
    with disabled(network):
        assert torch.equal(network(x), model(x))
    assert [name for name, layer in network.layers.items() if layer.enabled] == enabled
    network.enable()
    assert torch.equal(network(x), full)


def test_convolutions_whose_maps_are_added_share_a_layer():
    network = spatialize(made(Residual), SHAPE)
    assert network.layer("blocks.1.shortcut") is network.layer("blocks.1.conv2")
    assert [layer.names for layer in network.layers.values()] == [
        ("stem",), ("blocks.0.conv1",), ("blocks.0.conv2",), ("blocks.1.conv1",),
        ("blocks.1.conv2", "blocks.1.shortcut"),
    ]  # fmt: skip


def test_chosen_convolutions_alone_get_layers():
    network = spatialize(made(Residual), SHAPE, Mask.uniform(3, 1), ["blocks.0.conv1", "stem"])
    assert list(network.layers) == ["stem", "blocks.0.conv1"]
    assert {mask.p for mask in network.masks.values()} == {3}


def test_masks_are_set_by_name_and_all_or_none():
    network = spatialize(made(chain), SHAPE)
    network.set_masks(Mask.uniform(3, 1))
    assert [layer.p for layer in network.layers.values()] == [3, 3]
    network.set_masks({"3": Mask.uniform(2, 8)})
    assert [int(mask.codes) for mask in network.masks.values()] == [1, 8]
    with pytest.raises(LabError, match="mask for 3 is all ones"):
        network.set_masks({"0": Mask.uniform(2, 1), "3": Mask.uniform(2, everything(2))})
    with pytest.raises(LabError, match="no spatial layer masks 'conv9'; choose from 0, 3"):
        network.set_masks({"0": Mask.uniform(2, 1), "conv9": Mask.uniform(2, 1)})
    assert [layer.p for layer in network.layers.values()] == [3, 2]
    with pytest.raises(LabError, match="no spatial layer masks 'conv9'"):
        network.disable("0", "conv9")
    assert all(layer.enabled for layer in network.layers.values())


def test_copies_have_masks_and_convolutions_of_their_own(model, split):
    network = masked_by_chance(model)
    copied = copy.deepcopy(network)
    assert torch.equal(copied(split.x), network(split.x))
    for layer in copied.layers.values():
        own = [copied.body.get_submodule(name) for name in layer.names]
        assert all(a is b for a, b in zip(layer.convolutions, own, strict=True))
        layer.set_mask(Mask.uniform(2, 1))
    assert not torch.equal(copied(split.x), network(split.x))


def test_a_fresh_process_reads_masks_switches_and_answers(model, split, tmp_path):
    network = masked_by_chance(model)
    network.disable(next(iter(network.layers)))
    save(network, tmp_path / "network")
    torch.save(split.x, tmp_path / "images")
    command = [sys.executable, "-c", LOAD, str(tmp_path / "network"), str(tmp_path / "images")]
    made_path = str(Path(__file__).parents[2] / "made")
    path = os.pathsep.join([made_path, *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path}
    )
    assert done.returncode == 0, done.stderr
    logits, masks, enabled = json.loads(done.stdout)
    assert logits == network(split.x).tolist()
    assert masks == {name: [mask.p, mask.codes.tolist()] for name, mask in network.masks.items()}
    assert enabled == [False] + [True] * (len(masks) - 1)


def test_a_network_that_was_read_is_masked_and_counted_anew(split, tmp_path):
    save(masked_by_chance(made(Residual)), tmp_path / "network")
    network = load(tmp_path / "network")
    assert isinstance(network, SpatialNetwork)
    network.set_masks(Mask.uniform(3, 1))
    other = spatialize(made(Residual), SHAPE, Mask.uniform(3, 1))
    assert torch.equal(network(split.x), other(split.x))
    assert mean_cost(network, split) == mean_cost(other, split)


def test_sparse_weights_before_and_after(split):
    one = magnitude(masked_by_chance(made(chain)), 0.5)
    other = spatialize(magnitude(made(chain), 0.5), SHAPE)
    other.set_masks(one.masks)
    assert torch.equal(one(split.x), other(split.x))
    assert mean_cost(one, split) == mean_cost(other, split)


def test_a_spatial_network_gets_exits_and_not_the_other_way_round(split):
    network = masked_by_chance(made(chain))
    net = attach_branches(network, {"body.2": side_branch((4, 3, 3), 3).double()})
    assert torch.equal(net.eval()(split.x), network(split.x))
    assert mean_cost(net, split) == mean_cost(network, split)
    with pytest.raises(LabError, match="a BranchyNet has early exits already"):
        spatialize(net, SHAPE)
    with pytest.raises(LabError, match="a SpatialNetwork has spatial layers already"):
        spatialize(network, SHAPE)


def test_a_mask_that_fits_no_layer_is_refused_by_name():
    with pytest.raises(LabError, match="for 0; its ofmap"):
        spatialize(made(chain), SHAPE, Mask(2, torch.ones(5, 1, 1, dtype=torch.int64)))


def test_a_network_that_cannot_be_traced_is_refused():
    class Deciding(nn.Sequential):
        def forward(self, x):
            return super().forward(x) if x.sum() > 0 else x

    with pytest.raises(LabError, match="Deciding cannot be traced"):
        spatialize(Deciding(nn.Conv2d(2, 3, 3), nn.ReLU()), SHAPE)


def test_names_with_dots_and_with_underscores_get_layers_of_their_own(split):
    class Inner(nn.Module):
        def __init__(self, **convolutions):
            super().__init__()
            for name, convolution in convolutions.items():
                setattr(self, name, convolution)

    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = Inner(b_c=nn.Conv2d(2, 2, 3, padding=1))
            self.a_b = Inner(c=nn.Conv2d(2, 4, 3, padding=1))
            self.spatial_a_b_c = nn.Identity()

        def forward(self, x):
            return F.relu(self.a_b.c(F.relu(self.a.b_c(self.spatial_a_b_c(x))))).mean((2, 3))

    network = spatialize(made(Outer), SHAPE)
    assert [(layer.name, layer.ofmap[0]) for layer in network.layers.values()] == [
        ("a.b_c", 2),
        ("a_b.c", 4),
    ]
    assert network(split.x).shape == (len(split), 4)


def test_a_convolution_that_is_replaced_afterwards_is_an_error(split):
    network = spatialize(made(chain), SHAPE)
    network.body.set_submodule("3", nn.Conv2d(4, 6, 2).double())
    with pytest.raises(LabError, match="3 was replaced"):
        network(split.x)


def test_masks_that_are_handed_out_are_copies():
    network = spatialize(made(chain), SHAPE)
    network.masks["0"].codes.fill_(0)
    assert bool((network.masks["0"].codes > 0).all())


def test_two_masks_for_one_layer_are_an_error():
    network = spatialize(made(Residual), SHAPE)
    names = network.layer("blocks.1.conv2").names
    with pytest.raises(LabError, match="share a layer"):
        network.set_masks(dict.fromkeys(names, network.masks[names[0]]))
