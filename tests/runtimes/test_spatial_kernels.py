"""Networks of kernels against the spatial networks that they were made from."""

import copy

import pytest
import torch
from made_spatial import SHAPE, Residual, images, made, mask_by_chance
from torch import nn

from labsupport.core.errors import LabError
from labsupport.measure.latency import clock
from labsupport.methods.spatial import Granularity, disabled, spatialize
from labsupport.network.cost import mean_cost
from labsupport.network.fingerprint import fingerprint
from labsupport.network.storage import load, save
from labsupport.runtimes.masked import MaskedConvolution
from labsupport.runtimes.runtime import runtime_of
from labsupport.runtimes.spatial import as_kernels, kernel_pairs


def masked(model, granularity=Granularity.FILTER, p=2):
    network = spatialize(model, SHAPE)
    for seed, layer in enumerate(network.layers.values()):
        layer.set_mask(mask_by_chance(layer.ofmap, granularity, p, seed))
    return network


def kernels(network):
    found = [m for m in network.modules() if isinstance(m, MaskedConvolution)]
    return [kernel.name for kernel in found]


@torch.no_grad()
@pytest.mark.parametrize("granularity", Granularity)
def test_a_residual_network_answers_as_its_masks_say(granularity):
    network, x = masked(made(Residual), granularity, p=3), images().x
    before = fingerprint(network)
    fast = as_kernels(network, SHAPE)
    assert kernels(fast) == list(network.layers)
    torch.testing.assert_close(fast(x), network(x))
    assert fingerprint(network) == before


def test_it_costs_what_is_computed():
    network, split = masked(made(Residual)), images()
    fast, spatial = mean_cost(as_kernels(network, SHAPE), split), mean_cost(network, split)
    network.disable("blocks.1.conv2")  # coupled: its shortcut is computed in full
    uncoupled = mean_cost(as_kernels(network, SHAPE), split), mean_cost(network, split)
    assert uncoupled[0].fp_macs == pytest.approx(uncoupled[1].fp_macs)
    assert fast.fp_macs > spatial.fp_macs


@torch.no_grad()
def test_a_layer_by_itself_gets_and_gives_what_it_does_in_the_network():
    network, x = masked(made(Residual)), images().x
    network.disable("stem")
    seen = {}
    for name, layer in network.layers.items():
        layer.register_forward_hook(lambda _, given, out, name=name: seen.update({name: out}))
    network(x)
    expected = dict(seen)
    pairs = {pair.name: pair for pair in kernel_pairs(network, x)}
    whole = pairs.pop("all")
    assert list(pairs) == ["blocks.0.conv1", "blocks.1.conv1"]  # to the others a map is added
    for name, pair in pairs.items():
        torch.testing.assert_close(pair.kernel(pair.x), expected[name])
        kept = (expected[name] != 0).double()
        torch.testing.assert_close(pair.torch(pair.x) * kept, expected[name])
        assert 0 < pair.saved < 1
    torch.testing.assert_close(whole.kernel(x), network(x))
    for way in whole.both.values():
        assert not any(isinstance(module, nn.BatchNorm2d) for module in way.modules())
    with disabled(network):
        torch.testing.assert_close(whole.torch(x), network(x))


def test_disabled_layers_stay_with_torch():
    network, x = masked(made(Residual)), images().x
    network.disable("stem", "blocks.0.conv2")
    fast = as_kernels(network, SHAPE)
    assert kernels(fast) == ["blocks.0.conv1", "blocks.1.conv1", "blocks.1.conv2"]
    torch.testing.assert_close(fast(x), network(x))
    network.disable()
    with pytest.raises(LabError, match="no spatial layer is enabled"):
        as_kernels(network, SHAPE)


def test_it_is_clocked_and_kept_in_a_file(tmp_path):
    network, x = as_kernels(masked(made(Residual)), SHAPE), images().x
    assert runtime_of(network).name == "numba"
    assert runtime_of(network).resident_bytes(network) > 0
    clocking = clock({"kernels": network}, x[:1], rounds=1, calls=1, warmup=1)
    assert clocking.median_ms("kernels") > 0
    save(network, tmp_path / "network")
    assert torch.equal(load(tmp_path / "network")(x), network(x))


class TwoSums(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.relu = nn.Conv2d(2, 2, 1), nn.ReLU()

    def forward(self, x):
        return self.relu(self.conv(x) + x + x)


def test_a_convolution_that_the_kernel_does_not_know_is_refused_by_name():
    layers = {
        "groups": nn.Conv2d(2, 2, 3, groups=2),
        "dilation": nn.Conv2d(2, 2, 3, dilation=2),
        "padding_mode": nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"),
        "padding": nn.Conv2d(2, 2, 3, padding="same"),
    }
    for what, conv in layers.items():
        network = spatialize(nn.Sequential(conv, nn.ReLU()), SHAPE)
        with pytest.raises(LabError, match=rf"no kernel for 0: .*{what}.*disable its spatial"):
            as_kernels(network, SHAPE)
    with pytest.raises(LabError, match="more than fixed batch norms and one addition follow conv"):
        as_kernels(spatialize(TwoSums(), SHAPE), SHAPE)


def test_replaced_convolutions_have_no_kernels():
    network = masked(made(Residual))
    name = next(iter(network.layers))
    network.body.set_submodule(name, copy.deepcopy(network.body.get_submodule(name)))
    with pytest.raises(LabError, match="was replaced"):
        as_kernels(network, SHAPE)


class Weighted(nn.Module):
    """Its sum counts one of two maps twice."""

    def __init__(self):
        super().__init__()
        self.first, self.second = (
            nn.Conv2d(SHAPE[0], 4, 3, padding=1),
            nn.Conv2d(4, 4, 3, padding=1),
        )

    def forward(self, x):
        x = torch.relu(self.first(x))
        return torch.relu(torch.add(self.second(x), x, alpha=2))


def test_a_weighted_sum_has_no_kernel():
    network = spatialize(Weighted().eval(), SHAPE)
    with pytest.raises(LabError, match="one addition follow second"):
        as_kernels(network, SHAPE)
