"""SnaPEA layers against a loop over single sums, and networks against those they came from."""

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_methods import IMAGE, distill, magnitude, share, toy_splits
from made_nets import Residual as Toy
from made_spatial import SHAPE, Residual, chain, images, made, mask_by_chance
from torch import nn

from labsupport.core.errors import LabError
from labsupport.data import Split
from labsupport.measure.checks import check_method
from labsupport.methods.spatial import (
    Granularity,
    SnapeaLayer,
    savings,
    snapea,
    spatialize,
    stacked_savings,
)
from labsupport.network.cost import Cost, batch_cost, cost, mean_cost
from labsupport.network.fingerprint import fingerprint


def done_by_hand(x, weights, bias, first=0, threshold=-math.inf):
    """MACs of one sum of `weights` over the inputs `x`, and whether it is predicted to be zero.

    The order is written out: the largest `first` ones, then all that add, then all that take off.
    """
    by_size = sorted(range(len(weights)), key=lambda i: -abs(weights[i]))
    head = by_size[: first if threshold > -math.inf else 0]
    if first and bias + sum(weights[i] * x[i] for i in by_size[:first]) < threshold:
        return first, True
    rest = [i for i in by_size if i not in head]
    total, macs = bias, 0
    for i in [*head, *(i for i in rest if weights[i] > 0)]:
        total, macs = total + weights[i] * x[i], macs + 1
    for i in [i for i in rest if weights[i] <= 0]:
        if total <= 0:
            break
        total, macs = total + weights[i] * x[i], macs + 1
    return macs, False


def layer_by_hand(x, conv, norm, first=0, thresholds=None):
    """`done_by_hand` for each element of a map: MACs and predicted zeros, both (N, C, H, W)."""
    scale, shift = torch.ones(conv.out_channels), torch.zeros(conv.out_channels)
    if norm is not None:
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        shift = norm.bias - norm.running_mean * scale
    y = conv(x)
    padded = nn.functional.pad(x, (conv.padding[1],) * 2 + (conv.padding[0],) * 2)
    macs, zero = torch.zeros(y.shape, dtype=torch.int32), torch.zeros(y.shape, dtype=torch.bool)
    inputs, filters = (n // conv.groups for n in (conv.in_channels, conv.out_channels))
    (height, width), (down, right) = conv.kernel_size, conv.stride
    for n, f, row, column in torch.cartesian_prod(*map(torch.arange, y.shape)).tolist():
        start = f // filters * inputs
        window = padded[
            n, start : start + inputs, row * down : row * down + height,
            column * right : column * right + width,
        ]  # fmt: skip
        bias = 0 if conv.bias is None else conv.bias[f].item()
        threshold = -math.inf if thresholds is None else thresholds[f].item()
        macs[n, f, row, column], zero[n, f, row, column] = done_by_hand(
            window.flatten().tolist(), (conv.weight[f] * scale[f]).flatten().tolist(),
            (bias * scale[f] + shift[f]).item(), first, threshold,
        )  # fmt: skip
    return macs, zero


def drawn(seed, groups=1, norm=False, bias=True, stride=1):
    """A convolution by chance, perhaps a batch norm with scales of both signs, and its images."""
    torch.manual_seed(seed)
    conv = nn.Conv2d(2, 4, (3, 2), stride, 1, groups=groups, bias=bias).double()
    after = nn.BatchNorm2d(4).double().eval() if norm else None
    if after is not None:
        for tensor in (after.weight, after.bias, after.running_mean):
            nn.init.uniform_(tensor, -1, 1)
        nn.init.uniform_(after.running_var, 0.1, 2)
    with torch.no_grad():
        conv.weight[torch.rand_like(conv.weight) < 0.2] = 0
    return conv, after, torch.randn(2, 2, 4, 5, dtype=torch.float64).relu()


def layer_of(conv, norm):
    return SnapeaLayer("conv", conv, [] if norm is None else [norm], [])


def relu_of(x, conv, norm):
    return (conv(x) if norm is None else norm(conv(x))).relu().detach()


DRAWN = {
    "seed": st.integers(0, 1000), "groups": st.sampled_from([1, 2]), "norm": st.booleans(),
    "bias": st.booleans(), "stride": st.sampled_from([1, 2]),
}  # fmt: skip


@settings(max_examples=15)
@given(**DRAWN)
def test_a_layer_does_the_macs_of_a_loop_that_stops(**options):
    conv, norm, x = drawn(**options)
    layer, y = layer_of(conv, norm), relu_of(x, conv, norm)
    assert layer(x, y) is y
    macs, _ = layer_by_hand(x, conv, norm)
    assert torch.equal(layer.done(x), macs)
    undone = macs.numel() * layer.macs - int(macs.sum())
    assert layer.forward_cost(x, y) == Cost(fp_macs=-undone)


@settings(max_examples=15)
@given(first=st.integers(1, 6), **DRAWN)
def test_predicted_zeros_and_macs_are_those_of_a_loop(first, **options):
    conv, norm, x = drawn(**options)
    layer, y = layer_of(conv, norm), relu_of(x, conv, norm)
    thresholds = torch.tensor([-math.inf, -0.2, 0.0, 0.3], dtype=torch.float64)
    layer.predict_zeros(first, thresholds)
    macs, zero = layer_by_hand(x, conv, norm, first, thresholds)
    assert torch.equal(layer.done(x), macs)
    assert torch.equal(layer(x, y), y * ~zero)


def test_a_sum_that_is_not_zero_is_done_in_full_and_one_below_zero_is_not():
    conv = nn.Conv2d(1, 1, (1, 4), bias=False)
    with torch.no_grad():
        conv.weight.copy_(torch.tensor([-1.0, 2, -3, -0.5]).view(1, 1, 1, 4))
    layer = layer_of(conv, None)
    rows = [[1, 2, 1, 1], [1, 0, 1, 1], [1, 1, 1, 1], [9, 2, 1, 9], [0, 1, 0, 0]]
    done = layer.done(torch.tensor(rows, dtype=torch.float32).view(5, 1, 1, 4))
    assert done.flatten().tolist() == [3, 1, 2, 3, 4]


@pytest.mark.parametrize("make", [chain, Residual])
def test_the_exact_network_answers_like_the_one_it_came_from_and_does_less(make):
    model, split = made(make), images()
    before = fingerprint(model)
    model.train()
    network = snapea(model, SHAPE)
    assert network.training
    model.eval()
    network.eval()
    assert torch.equal(network(split.x), model(split.x))
    assert fingerprint(model) == before
    layers = network.layers
    assert list(layers) == (
        ["3"] if make is chain else ["blocks.0.conv1", "blocks.1.conv1"]
    )  # neither first layers nor those behind which maps are added
    saved = cost(model, SHAPE).fp_macs - mean_cost(network, split).fp_macs
    assert saved > 0
    found = stacked_savings(network, split, batch_size=4)
    assert found.saved_macs == pytest.approx(saved)
    assert found.all_macs == pytest.approx(cost(model, SHAPE).fp_macs)
    assert found.layers["layer"].tolist() == list(layers)


def test_a_first_layer_stops_early_on_images_that_are_never_below_zero():
    model, split = made(chain), images()
    network = snapea(model, SHAPE, ["0", "3"])
    assert list(network.layers) == ["0", "3"]
    positive = Split(split.x.relu(), split.y)
    assert torch.equal(network(positive.x), model(positive.x))
    assert mean_cost(network, positive).fp_macs < cost(model, SHAPE).fp_macs
    with pytest.raises(LabError, match="0 gets numbers below 0"):
        network(split.x)


@torch.no_grad()
@pytest.mark.parametrize("granularity", Granularity)
def test_on_masks_both_save_and_nothing_is_saved_twice(granularity):
    model, split = made(chain), images()
    masked = spatialize(model, SHAPE)
    for seed, layer in enumerate(masked.layers.values()):
        layer.set_mask(mask_by_chance(layer.ofmap, granularity, seed=seed))
    network = snapea(masked, SHAPE)
    assert torch.equal(network(split.x), masked(split.x))
    x = model[2](masked.body.spatial_0(model[1](model[0](split.x))))
    macs, _ = layer_by_hand(x, model[3], model[4])
    kept = masked.layers["3"].kept(relu_of(x, model[3], model[4]))
    found = stacked_savings(network, split, batch_size=4)
    rows = found.layers.set_index("layer")
    by_masks = savings(masked, split)
    assert rows.loc["3", "stopped_macs"] == pytest.approx(((8 - macs) * kept).sum().item() / 9)
    assert rows["masked_macs"].sum() == pytest.approx(by_masks.saved_macs)
    assert (found.convolution_macs, found.all_macs) == pytest.approx(
        (by_masks.convolution_macs, by_masks.all_macs)
    )
    assert found.saved_macs == pytest.approx(
        cost(model, SHAPE).fp_macs - mean_cost(network, split).fp_macs
    )
    network.body.disable()
    alone = stacked_savings(network, split).layers.set_index("layer")
    assert alone["masked_macs"].sum() == 0
    assert alone.loc["3", "saved_macs"] == stacked_savings(snapea(model, SHAPE), split).saved_macs


def test_a_threshold_of_minus_infinity_is_the_exact_mode():
    model, split = made(chain), images()
    exact, network = snapea(model, SHAPE), snapea(model, SHAPE)
    network.layers["3"].predict_zeros(2, torch.full((6,), -math.inf))
    assert torch.equal(network(split.x), exact(split.x))
    assert batch_cost(network, split.x) == batch_cost(exact, split.x)


def test_the_gradient_goes_through_what_is_not_predicted():
    conv, norm, x = drawn(0)
    layer, y = layer_of(conv, norm), relu_of(x, conv, norm).requires_grad_()
    layer.predict_zeros(2, torch.full((4,), 0.1))
    layer(x, y).sum().backward()
    assert torch.equal(y.grad, (~layer.predicted(x)).double())


def test_what_cannot_stop_early_is_refused_by_name():
    residual, first = made(Residual), made(chain)
    with pytest.raises(LabError, match=r"no sum of blocks\.0\.conv2 may stop"):
        snapea(residual, SHAPE, ["blocks.0.conv2"])
    with pytest.raises(LabError, match=r"no convolution 'conv9'"):
        snapea(first, SHAPE, ["conv9"])
    with pytest.raises(LabError, match="no convolution stands between two ReLUs"):
        snapea(first[:2].append(nn.Flatten()), SHAPE)
    network = snapea(first, SHAPE)
    with pytest.raises(LabError, match="stops early already"):
        snapea(network, SHAPE)
    with pytest.raises(LabError, match="stops sums early already"):
        spatialize(network, SHAPE)
    unfixed = nn.Sequential(
        nn.ReLU(), nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3, track_running_stats=False), nn.ReLU()
    )
    with pytest.raises(LabError, match="no sum of 1 may stop"):
        snapea(unfixed, SHAPE, ["1"])
    with pytest.raises(LabError, match="no images"):
        stacked_savings(network, images(0))


def test_thresholds_are_checked():
    (layer,) = snapea(made(chain), SHAPE).layers.values()
    for first in (0, 9):
        with pytest.raises(LabError, match=f"{first} weights of 3 to predict by; give .* 1 and 8"):
            layer.predict_zeros(first, torch.zeros(6))
    for wrong in (torch.zeros(5), torch.full((6,), math.nan)):
        with pytest.raises(LabError, match="thresholds of shape"):
            layer.predict_zeros(2, wrong)
    assert repr(layer) == "SnapeaLayer(3, exact)"


def exact(model):
    return snapea(model, IMAGE)


def predictive(model):
    network = snapea(model, IMAGE)
    for layer in network.layers.values():
        layer.predict_zeros(4, torch.zeros_like(layer.thresholds))
    return network


def on_masks(model):
    return snapea(spatialize(model, IMAGE), IMAGE)


@pytest.mark.parametrize("method", [exact, predictive, on_masks])
def test_it_is_a_method(method):
    check_method(method, Toy().train(), toy_splits())


@pytest.mark.parametrize("method", [magnitude, share, distill])
def test_it_comes_before_and_after_other_methods(method):
    splits = toy_splits()
    check_method(method, predictive(Toy()), splits)
    check_method(exact, method(Toy()), splits)


def test_a_part_that_was_replaced_afterwards_is_an_error():
    network = snapea(made(chain), SHAPE)
    network.body.set_submodule("3", copy.deepcopy(network.body.get_submodule("3")))
    with pytest.raises(LabError, match="3 or its batch norm was replaced"):
        network(images().x)


def test_a_network_without_such_layers_has_no_stacked_savings():
    with pytest.raises(LabError, match="there are no spatial and no SnaPEA layers"):
        stacked_savings(made(chain), images())
