import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_spatial import by_hand, mask_by_chance
from torch import nn

from labsupport.core.errors import LabError
from labsupport.data import Split
from labsupport.methods.spatial import (
    Granularity,
    Mask,
    SpatialLayer,
    diagonal,
    everything,
    spatialize,
)
from labsupport.network.cost import Cost, batch_cost, cost, layer_costs, mean_cost

OFMAP = (3, 5, 7)


def maps(ofmap=OFMAP, n=4, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return (torch.randn(n, *ofmap, generator=draw) - 0.7).relu()


def layer_of(mask, ofmap=OFMAP, **options):
    conv = nn.Conv2d(2, ofmap[0], 3, padding=1, **options)
    return SpatialLayer({"conv": conv}, ofmap, mask)


@settings(max_examples=30)
@given(
    p=st.sampled_from([2, 3, 4]),
    granularity=st.sampled_from(Granularity),
    sides=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    seed=st.integers(0, 50),
)
def test_zeros_and_savings_are_those_of_each_patch_by_hand(p, granularity, sides, seed):
    ofmap = (2, *sides)
    mask = mask_by_chance(ofmap, granularity, p, seed)
    layer, x = layer_of(mask, ofmap), maps(ofmap, 3, seed)
    expected, saved = by_hand(x, mask)
    assert torch.equal(layer(x), expected)
    work = 2 * 9 * sum(saved)
    assert batch_cost(layer, x) == Cost(fp_macs=-work, additions=-sum(saved))


def test_a_patch_with_a_one_that_is_not_zero_stays():
    layer = layer_of(Mask.uniform(2, diagonal(2)), (1, 2, 2))
    x = torch.tensor([[[0.0, 1], [2, 0]], [[3, 1], [2, 0]], [[0, 1], [2, 4]]])[:, None]
    assert torch.equal(layer(x)[0], torch.zeros(1, 2, 2))
    assert torch.equal(layer(x)[1:], x[1:])


def test_a_patch_whose_ones_lie_in_the_padding_is_always_predicted():
    layer = layer_of(Mask.uniform(2, 0b1000), (1, 3, 3))
    gone = layer(torch.ones(1, 1, 3, 3)) == 0
    assert gone[0, 0].int().tolist() == [[0, 0, 1], [0, 0, 1], [1, 1, 1]]
    assert layer.forward_cost(torch.ones(1, 1, 3, 3), gone).fp_macs == -5 * 18


def test_a_patch_of_all_ones_saves_nothing():
    codes = torch.tensor([everything(2), 1, everything(2)]).view(3, 1, 1)
    layer, x = layer_of(Mask(2, codes)), torch.zeros(2, *OFMAP)
    assert layer.forward_cost(x, x).fp_macs == -2 * 18 * (35 - 3 * 4)


def test_the_gradient_goes_through_what_is_kept_alone():
    layer, x = layer_of(Mask.uniform(2, 1)), maps().requires_grad_()
    layer(x).sum().backward()
    assert torch.equal(x.grad, layer.kept(x).float())
    assert 0 < x.grad.mean() < 1


def test_a_disabled_layer_passes_on_what_it_gets_and_saves_nothing():
    layer, x = layer_of(Mask.uniform(2, 1)), maps()
    layer.enabled = False
    assert layer(x) is x
    assert batch_cost(layer, x) == Cost()
    assert list(layer_costs(nn.Sequential(nn.ReLU(), layer), OFMAP)["activations"]) == [0, 0]
    layer.enabled = True
    with pytest.raises(LabError, match="depends on the image"):
        cost(layer, OFMAP)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("groups", [1, 2])
def test_a_position_costs_what_its_convolution_takes_for_it(bias, groups):
    net = nn.Sequential(nn.Conv2d(4, 6, (3, 2), 2, 1, groups=groups, bias=bias), nn.ReLU()).eval()
    spatial = spatialize(net, (4, 6, 9))
    (layer,) = spatial.layers.values()
    plain = cost(net, (4, 6, 9))
    assert layer.macs * torch.Size(layer.ofmap).numel() == plain.fp_macs
    x = torch.randn(5, 4, 6, 9, generator=torch.Generator().manual_seed(0))
    _, saved = by_hand(net(x).detach(), layer.mask)
    counted = mean_cost(spatial, Split(x, torch.zeros(5).long()), batch_size=2)
    assert counted.fp_macs == pytest.approx(plain.fp_macs - layer.macs * sum(saved) / 5)
    assert counted.additions == pytest.approx(plain.additions - bias * sum(saved) / 5)
    assert sum(saved) > 0


def test_another_ofmap_is_refused_by_name():
    layer = layer_of(Mask.uniform(2, 1))
    with pytest.raises(LabError, match=r"conv gives an ofmap of \(3, 5, 8\), not \(3, 5, 7\)"):
        layer(torch.zeros(1, 3, 5, 8))


def test_a_mask_that_does_not_fit_is_refused_and_the_old_one_stays():
    layer = layer_of(Mask.uniform(2, 1))
    with pytest.raises(LabError, match="conv is all ones"):
        layer.set_mask(Mask.uniform(3, everything(3)))
    assert (layer.p, layer.mask.codes.tolist()) == (2, [[[1]]])


def test_it_shows_what_it_masks():
    layer = layer_of(Mask.uniform(3, 1))
    assert repr(layer) == "SpatialLayer(conv, 3 x 3 per layer)"
