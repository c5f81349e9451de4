"""What patterns save and harm, by statistics, against masks and patches one by one."""

import pytest
import torch
from made_spatial import SHAPE, Residual, chain, images, made, mask_by_chance
from torch import nn

from labsupport.core.errors import LabError
from labsupport.methods.spatial import (
    Granularity,
    disabled,
    effects,
    harm,
    patch_codes,
    patch_grid,
    patterns,
    spatialize,
)
from labsupport.methods.spatial.harm import changes, margin_shares


def own_labels(network, split):
    """The split with the answers of the network as labels, so that all margins count."""
    with torch.no_grad():
        split.y.copy_(network(split.x).argmax(1))
    return split


def harm_by_hand(network, split, name, p):
    """For each image and patch (n, C, rows, columns): what it adds to the margin's share."""
    layer = network.layers[name]
    maps = []

    def replace(_, inputs, output):
        maps.append((inputs[0], output.detach().requires_grad_()))
        return maps[-1][1]

    handle = layer.register_forward_hook(replace)
    margin_shares(network(split.x), split.y).sum().backward()
    handle.remove()
    given, output = maps[0]
    change = given.detach() * output.grad
    channels, height, width = layer.ofmap
    sums = torch.zeros(len(split), channels, *patch_grid(height, width, p), dtype=change.dtype)
    for row in range(height):
        for column in range(width):
            sums[..., row // p, column // p] += change[..., row, column]
    return given.detach(), sums.abs()


def wrongly_zeroed(given, sums, p, code):
    """The harm (C, rows, columns) of one pattern in every patch, from the maps themselves."""
    height, width = given.shape[-2:]
    lives = torch.zeros_like(sums, dtype=torch.bool)
    for row in range(height):
        for column in range(width):
            if code >> (row % p * p + column % p) & 1:
                lives[..., row // p, column // p] |= given[..., row, column] != 0
    return (sums * ~lives).mean(0)


@pytest.mark.parametrize("p", [2, 3])
@pytest.mark.parametrize(("make", "name"), [(chain, "0"), (Residual, "blocks.1.conv2")])
def test_harm_is_what_the_zeroed_patches_add_to_the_margins(make, name, p):
    network = spatialize(made(make), SHAPE)
    network.disable()
    split = own_labels(network, images())
    options = patterns(p, (1, 2))
    axes = {Granularity.LAYER: (0, 1, 2), Granularity.FILTER: (1, 2), Granularity.POSITION: (0,)}
    given, sums = harm_by_hand(network, split, name, p)
    for granularity in Granularity:
        found = effects(network, split, granularity, options, p, batch_size=4)[name].harm
        for i in range(0, len(options), 5):
            patch = wrongly_zeroed(given, sums, p, int(options[i]))
            expected = (
                patch.sum(axes.get(granularity, ()), keepdim=True) if granularity in axes else patch
            )
            torch.testing.assert_close(found[..., i], expected.float())
        assert found.max() > 0


def test_a_patch_that_is_zeroed_changes_the_margin_by_its_sum():
    """Behind the last ReLU of a network that is linear from there, the first order is all."""
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 5 * 4, 2))
    network = spatialize(made(lambda: net), SHAPE)
    network.disable()
    split = own_labels(network, images(5))
    ((layer, given, change),) = changes(network, split.x, split.y)
    with torch.no_grad():
        has = margin_shares(network(split.x), split.y)
        denominator = 1 / (1 / has - 1) + 1  # share = margin / (1 + margin)
        for place in ((0, 0, 0), (1, 2, 3), (2, 4, 1)):
            zeroed = given.clone()
            zeroed[(slice(None), *place)] = 0
            logits = network.body.get_submodule("3")(zeroed.flatten(1))
            right = logits.gather(1, split.y[:, None])[:, 0]
            other = logits.gather(1, 1 - split.y[:, None])[:, 0]
            after = (right - other) / denominator
            torch.testing.assert_close(has - after, change[(slice(None), *place)])
    assert layer.name == "0"


@pytest.mark.parametrize("p", [2, 3, 4])
@pytest.mark.parametrize("granularity", Granularity)
def test_savings_are_those_of_the_patch_codes(granularity, p):
    network, split = spatialize(made(Residual), SHAPE), images()
    layer = network.layers["stem"]
    layer.set_mask(mask_by_chance(layer.ofmap, p=p))
    network.disable()
    network.enable("stem")
    options = patterns(p, (1, 2))
    found = effects(network, split, granularity, options, p, batch_size=4)
    codes = patch_codes(network, split, p)
    for name in network.layers:
        expected = codes[name].saved(granularity, options).float()
        torch.testing.assert_close(found[name].saved, expected)


def test_wrong_images_cannot_be_harmed():
    logits = torch.tensor([[2.0, 1.0], [1.0, 3.0], [1.0, 1.0]], requires_grad=True)
    shares = margin_shares(logits, torch.tensor([0, 0, 1]))
    assert shares.tolist() == [0.5, 0.0, 0.0]
    shares.sum().backward()
    assert logits.grad.tolist() == [[0.5, -0.5], [0.0, 0.0], [0.0, 0.0]]


def test_frozen_networks_have_effects_and_stay_as_they_were():
    network, split = spatialize(made(chain), SHAPE).train(), images()
    network.requires_grad_(False)
    with torch.no_grad():
        effects(network, split, Granularity.LAYER, patterns(2), 2)
    assert network.training
    assert not any(layer._forward_hooks for layer in network.layers.values())
    with disabled(network):
        for layer, given, change in changes(network, split.x, split.y):
            assert given.shape == change.shape == (len(split), *layer.ofmap)


def test_what_cannot_be_is_refused(monkeypatch):
    network = spatialize(made(chain), SHAPE)
    with pytest.raises(LabError, match="no images"):
        effects(network, images(0), Granularity.LAYER, patterns(2), 2)
    monkeypatch.setattr(harm, "MOST", 100)
    with pytest.raises(LabError, match="14 patterns in 10 places do not fit"):
        effects(network, images(), Granularity.FILTER, patterns(2), 2)
