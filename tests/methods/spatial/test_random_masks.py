"""Random masks in force while a network trains."""

import pytest
import torch
from made_spatial import SHAPE, images
from torch import nn

from labsupport.core.errors import LabError
from labsupport.data import Batch
from labsupport.methods.spatial import Granularity, Mask, RandomMasks, SpatialLayer
from labsupport.training import CrossEntropy, SparseOfmaps


@pytest.fixture
def network():
    first = nn.Conv2d(SHAPE[0], 6, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2)
    return nn.Sequential(*first, nn.Flatten(), nn.LazyLinear(10)).double()


@pytest.fixture
def batch(network):
    split = images()
    network(split.x)
    return Batch(split.x, split.y)


def maps_under(objective, network, batch):
    """What the pooling gets, with and without the objective's masks."""
    seen = []
    hook = network[2].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    objective(network, batch)
    network(batch.x)
    hook.remove()
    return seen


def may_be(maps, masked):
    """Whether a spatial layer with some pattern of one to p ones gives these masked maps."""
    for p in (2, 3):
        for code in range(1, 2 ** (p * p) - 1):
            if code.bit_count() <= p:
                conv = nn.Conv2d(1, 1, 3)
                layer = SpatialLayer({"c": conv}, tuple(maps.shape[1:]), Mask.uniform(p, code))
                if torch.equal(layer(maps), masked):
                    return True
    return False


def test_each_filter_is_as_it_was_or_as_a_spatial_layer_leaves_it(network, batch):
    torch.manual_seed(0)
    changed = 0
    for _ in range(3):
        masked, plain = maps_under(RandomMasks(0.5), network.train(), batch)
        for c in range(plain.shape[1]):
            one, other = plain[:, c : c + 1], masked[:, c : c + 1]
            if not torch.equal(one, other):
                changed += 1
                assert may_be(one, other)
    assert 0 < changed < 18


def test_what_is_lost_gets_no_gradient(network, batch):
    seen = []
    kept = network[1].register_forward_hook(lambda _, inputs, out: seen.append(out))
    pooled = network[2].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    loss = RandomMasks(1.0)(network.train(), batch).loss
    kept.remove(), pooled.remove()
    plain, masked = seen
    lost = (masked == 0) & (plain != 0)
    gradient = torch.autograd.grad(loss, plain)[0]
    assert lost.any()
    assert gradient[lost].eq(0).all()
    assert gradient.ne(0).any()


def test_no_share_no_training_no_masks(network, batch):
    plain = CrossEntropy()(network, batch).loss
    assert torch.equal(RandomMasks(0.0)(network.train(), batch).loss, plain)
    assert torch.equal(RandomMasks(1.0)(network.eval(), batch).loss, plain)
    assert not network[1]._forward_hooks


def test_zeros_are_measured_before_they_are_masked(network, batch):
    measured = SparseOfmaps(1.0, objective=RandomMasks(1.0))
    torch.manual_seed(2)
    both = measured(network.train(), batch).loss
    torch.manual_seed(2)
    masked = RandomMasks(1.0)(network, batch).loss
    plain = SparseOfmaps(1.0)(network, batch).loss - CrossEntropy()(network, batch).loss
    torch.testing.assert_close(both - masked, plain)


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_shares_that_cannot_be_are_refused(share):
    with pytest.raises(LabError, match="share"):
        RandomMasks(share)
