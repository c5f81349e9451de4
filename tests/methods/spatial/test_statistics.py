import pytest
import torch
from made_spatial import SHAPE, Residual, by_hand, chain, images, made, mask_by_chance
from torch.nn import functional as F

from labsupport.core.errors import LabError
from labsupport.methods.spatial import Granularity, judge, savings, spatialize, zero_share
from labsupport.network.cost import cost, mean_cost
from labsupport.training import predict


@torch.no_grad()
def test_a_row_says_what_a_layer_saves_and_gets_wrong():
    model, split = made(chain), images()
    network = spatialize(model, SHAPE)
    mask = mask_by_chance((4, 7, 6), Granularity.FILTER, 3, ones=(1, 3))
    network.set_masks({"0": mask})
    x = F.relu(model[0](split.x))
    masked, saved = by_hand(x, mask)
    row = savings(network, split, batch_size=4).layers.iloc[0]
    assert row["layer"] == "0"
    assert (row["ofmap"], row["p"], row["granularity"]) == ("4x7x6", 3, "filter")
    assert row["macs"] == 4 * 7 * 6 * 18
    assert row["saved_macs"] == pytest.approx(18 * sum(saved) / 9)
    assert row["saved"] == pytest.approx(sum(saved) / 9 / (4 * 7 * 6))
    assert row["zero"] == pytest.approx((x == 0).double().mean().item())
    assert row["wrong"] == pytest.approx((masked != x).double().mean().item())
    assert 0 < row["wrong"] < row["saved"]


@pytest.mark.parametrize("make", [chain, Residual])
def test_the_whole_network_saves_what_its_cost_lacks(make):
    model, split = made(make), images()
    network = spatialize(model, SHAPE)
    found = savings(network, split)
    saved = cost(model, SHAPE).fp_macs - mean_cost(network, split).fp_macs
    assert found.saved_macs == pytest.approx(saved)
    assert found.all_macs == cost(model, SHAPE).fp_macs
    linear = sum(p.numel() for p in (model[7] if make is chain else model.head).parameters()) - 3
    assert found.convolution_macs == found.all_macs - linear
    assert found.of_convolutions == pytest.approx(saved / found.convolution_macs)
    assert found.of_all == pytest.approx(saved / found.all_macs)
    coupled = found.layers.set_index("layer")["convolutions"]
    assert coupled.sum() == (2 if make is chain else 6)


def test_disabled_layers_save_nothing_and_later_ones_see_what_is_left():
    network, split = spatialize(made(chain), SHAPE), images()
    both = savings(network, split).layers
    network.disable("0")
    second = savings(network, split).layers
    assert second["saved_macs"][0] == second["wrong"][0] == 0
    assert second["zero"][0] == both["zero"][0] > 0
    assert second["saved_macs"][1] != both["saved_macs"][1]


@torch.no_grad()
def test_zeros_count_by_the_macs_of_their_maps_and_masks_do_not_matter():
    model, split = made(chain), images()
    network = spatialize(model, SHAPE)
    maps = [model[:2](split.x), model[:6](split.x)]
    layers = savings(network, split).layers
    weights = layers["macs"] / layers["macs"].sum()
    zeros = [(one == 0).double().mean().item() for one in maps]
    assert zero_share(network, split) == pytest.approx(sum(weights * zeros))


def test_looking_leaves_the_network_as_it_was():
    network, split = spatialize(made(chain), SHAPE).train(), images()
    network.disable("3")
    savings(network, split)
    assert network.training
    assert [layer.enabled for layer in network.layers.values()] == [True, False]
    assert not any(layer._forward_pre_hooks for layer in network.layers.values())


def test_no_images_are_refused():
    with pytest.raises(LabError, match="no images"):
        savings(spatialize(made(chain), SHAPE), images(0))


@pytest.mark.parametrize("make", [chain, Residual])
def test_a_judgment_is_what_savings_and_predictions_say(make):
    network, split = spatialize(made(make), SHAPE), images()
    right = (predict(network, split).argmax(1) == split.y).double().mean().item()
    judgment = judge(network, split, batch_size=4)
    assert judgment.saved == pytest.approx(savings(network, split).of_convolutions)
    assert judgment.accuracy == pytest.approx(right)
    with pytest.raises(LabError, match="no images to judge by"):
        judge(network, images(0))
