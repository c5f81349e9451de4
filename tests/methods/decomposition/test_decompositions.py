"""Layers decomposed: at full rank they answer alike, below it they miss what they should."""

import itertools
import math

import numpy as np
import pytest
import torch
from made_rules import toy_images, toy_network
from torch import nn

from labsupport.core.errors import LabError
from labsupport.methods.decomposition import (
    CP,
    SVD,
    TensorTrain,
    Tucker,
    decompose,
    decompose_along,
    ordered,
    tucker_by_vbmf,
)
from labsupport.methods.decomposition.rank_one import alternating, full_rank
from labsupport.methods.pruning import magnitude
from labsupport.models.tensor_train import TTLinear, full_ranks, train_ranks
from labsupport.network.cost import cost, mean_cost
from labsupport.network.fingerprint import fingerprint
from labsupport.network.storage import file_bytes, load, save
from labsupport.network.weights import parameter_count
from labsupport.runtimes.onnx import OnnxNetwork, export_onnx

CONVOLUTIONS = {
    "plain": {},
    "strides": {"stride": (2, 3)},
    "padding": {"padding": (2, 1)},
    "same": {"padding": "same", "dilation": (1, 2)},
    "valid": {"padding": "valid"},
    "reflected": {"padding": (1, 2), "padding_mode": "reflect"},
    "circular": {"padding": (1, 1), "padding_mode": "circular", "stride": 2},
    "dilation": {"dilation": (2, 1), "padding": 1},
    "groups": {"groups": 2, "padding": 1},
    "no_bias": {"bias": False},
    "all": {"groups": 2, "stride": (2, 1), "padding": (1, 2), "dilation": (1, 2), "bias": False},
}
KERNELS = [(3, 3), (5, 3), (1, 4), (3, 1)]


def convolution(kernel=(3, 3), channels=4, filters=6, **options):
    torch.manual_seed(0)
    return nn.Conv2d(channels, filters, kernel, **options)


def full(kind, layer):
    """The decomposition of full ranks of a convolution."""
    shape = (layer.out_channels // layer.groups, *layer.weight.shape[1:])
    filters, channels, rows, columns = shape
    if kind is SVD:
        return SVD(min(filters, channels * rows * columns))
    if kind is CP:
        return CP(full_rank(shape))
    if kind is Tucker:
        inputs = min(channels, filters * rows * columns)
        return Tucker(inputs, min(filters, channels * rows * columns))
    return TensorTrain(train_ranks((channels, rows, columns, filters)))


def answers_alike(one, other, shape, tolerance=1e-4):
    x = torch.randn(3, *shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(other(x), one(x), rtol=0, atol=tolerance)


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
@pytest.mark.parametrize("options", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
@pytest.mark.parametrize("kind", [SVD, CP, Tucker, TensorTrain])
def test_a_convolution_of_full_rank_answers_alike(kind, options, kernel):
    layer = convolution(kernel, **options)
    made = decompose(layer, {"": full(kind, layer)})
    answers_alike(layer, made, (4, 12, 13))
    assert all(type(part) is nn.Conv2d for part in made)


@pytest.mark.parametrize("kernel", [(1, 1), (3, 3)])
@pytest.mark.parametrize("bias", [True, False])
def test_svd_takes_1x1_convolutions_and_groups(bias, kernel):
    layer = convolution(kernel, stride=2, groups=2, bias=bias)
    answers_alike(layer, decompose(layer, {"": full(SVD, layer)}), (4, 9, 9))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    "how",
    [
        SVD(9),
        TensorTrain(99),
        TensorTrain((6, 4), (2, 3, 2), (3, 2, 2)),
        TensorTrain((8,), (4, 3), (2, 5)),
        TensorTrain((9,), (4, 4), (3, 3)),
        TensorTrain((), (12,), (9,)),
    ],
    ids=str,
)
def test_a_linear_layer_of_full_rank_answers_alike(how, bias):
    torch.manual_seed(0)
    layer = nn.Linear(12, 9, bias=bias)
    if how == TensorTrain(99):
        how = TensorTrain(max(full_ranks((2, 2, 3), (2, 2, 3))))
    made = decompose(layer, {"": how})
    answers_alike(layer, made, (12,))
    answers_alike(layer, made, (2, 5, 12))


def low_tucker(filters=8, channels=7, kernel=(3, 3), ranks=(3, 2)):
    """A convolution whose weight has these ranks along filters and channels."""
    layer = convolution(kernel, channels, filters, padding=1)
    core = torch.randn(*ranks, *kernel)
    left, right = torch.randn(filters, ranks[0]), torch.randn(channels, ranks[1])
    layer.weight.data = torch.einsum("rsyx,or,is->oiyx", core, left, right) / 5
    return layer


def low_cp(rank=3, **options):
    layer = convolution((3, 4), 5, 6, padding=1, **options)
    factors = [torch.randn(n, rank) for n in (6, 5, 3, 4)]
    layer.weight.data = torch.einsum("or,ir,yr,xr->oiyx", *factors) / 5
    return layer


def test_what_has_a_low_rank_needs_no_more():
    low = low_tucker()
    for how in (Tucker(2, 3), Tucker(7, 3), Tucker(2, 8), SVD(3), TensorTrain((2, 6, 3))):
        answers_alike(low, decompose(low, {"": how}), (7, 6, 6))
    layer = low_cp()
    for how in (CP(3), CP(4), Tucker(3, 3), TensorTrain(3), SVD(3)):
        answers_alike(layer, decompose(layer, {"": how}), (5, 6, 6), 5e-4)


def weight_of(layer, channels, rows, columns):
    """The weight that a layer without bias and padding has, from what it does to unit images."""
    units = torch.eye(channels * rows * columns).view(-1, channels, rows, columns)
    with torch.no_grad():
        return layer(units).flatten(1).T.reshape(-1, channels, rows, columns)


@pytest.mark.parametrize("rank", [1, 3, 5])
def test_svd_leaves_out_the_smallest_singular_values(rank):
    layer = convolution(bias=False)
    missing = weight_of(decompose(layer, {"": SVD(rank)}), 4, 3, 3) - layer.weight.detach()
    values = torch.linalg.svdvals(layer.weight.detach().flatten(1))
    torch.testing.assert_close(missing.norm(), values[rank:].norm())


def test_tucker_misses_no_more_than_its_two_unfoldings_do():
    """The error of the higher-order SVD, which the iteration begins with, bounds it (De Lathauwer
    et al. 2000): the squares that each unfolding loses, summed."""
    layer = convolution(channels=6, filters=8, bias=False)
    weight = layer.weight.detach()
    missing = weight_of(decompose(layer, {"": Tucker(3, 4)}), 6, 3, 3) - weight
    lost = [
        torch.linalg.svdvals(weight.movedim(axis, 0).flatten(1))[rank:].square().sum()
        for axis, rank in ((0, 4), (1, 3))
    ]
    assert max(lost) <= missing.square().sum() * (1 + 1e-5) <= sum(lost) * (1 + 2e-5)


@pytest.mark.parametrize("groups", [1, 2])
def test_costs_are_those_of_the_papers(groups):
    s, t, k, r, q = 4, 6, 5, 2, 2  # channels, filters, kernel, ranks
    layer = convolution((k, k), s, t, groups=groups, padding=2, bias=False)
    size = 8 * 8
    macs = {
        CP(r): groups * r * (s // groups + 2 * k + t // groups),
        Tucker(r, q): groups * (s // groups * r + k * k * r * q + q * t // groups),
        SVD(r): groups * r * (k * k * s // groups + t // groups),
        TensorTrain(r): groups * r * (s // groups + 2 * k * r + t // groups),
    }
    for how, expected in macs.items():
        if how == Tucker(r, q) and groups == 2:
            expected -= groups * s // groups * r  # of full rank: the 1x1 layer is left out
        made = decompose(layer, {"": how})
        assert cost(made, (s, 8, 8)).fp_macs == expected * size, how
        assert parameter_count(made) == expected, how


def test_only_the_core_of_tucker_strides_and_pads_and_only_the_last_has_a_bias():
    layer = convolution(stride=2, padding=1)
    first, core, last = decompose(layer, {"": Tucker(2, 3)})
    assert (core.stride, core.padding) == ((2, 2), (1, 1))
    for one in (first, last):
        assert (one.stride, one.padding, one.kernel_size) == ((1, 1), (0, 0), (1, 1))
    assert first.bias is None is core.bias
    assert torch.equal(last.bias, layer.bias)


HOWS = {
    "0": [SVD(2), CP(3), Tucker(1, 2), TensorTrain(2)],
    "4": [SVD(4), TensorTrain(3), TensorTrain(2, (5, 8), (4, 4))],
}


@pytest.mark.parametrize("pair", list(itertools.product(*HOWS.values())))
def test_the_network_is_left_as_it_is_and_a_file_gives_the_result_back(pair, tmp_path):
    net = toy_network()
    net[4].weight.requires_grad_(False)
    before, state = fingerprint(net), torch.get_rng_state()
    made = decompose(net, dict(zip(HOWS, pair, strict=True)))
    assert fingerprint(net) == before
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(p.requires_grad for n, p in made[4].named_parameters() if "bias" not in n)
    assert all(p.requires_grad for p in made[0].parameters())
    assert [m.training for m in made.modules()] == [True] * len(list(made.modules()))
    save(made, tmp_path / "net")
    answers_alike(made.eval(), load(tmp_path / "net"), (1, 8, 8), 0)


def test_a_file_shrinks_with_the_weights():
    layer = nn.Linear(256, 256)
    assert file_bytes(decompose(layer, {"": SVD(8)})) < 4 * (2 * 8 * 256 + 256) + 2500
    cores = 4 * (16 * 4 + 16 * 4 * 4 + 16 * 4 + 256)
    made = decompose(layer, {"": TensorTrain(4, (4, 8, 8), (4, 8, 8))})
    assert parameter_count(made) == 16 * 4 + 64 * 16 + 64 * 4 + 256
    assert file_bytes(made) < cores + 64 * 16 * 4 + 2500


def test_the_type_of_the_weights_stays():
    net = toy_network().double()
    made = decompose(net, {"0": CP(2), "4": TensorTrain(2)})
    assert {p.dtype for p in made.parameters()} == {torch.float64}


def test_masked_weights_become_plain_ones():
    masked = magnitude(toy_network(), 0.3).eval()
    made = decompose(masked, {"4": SVD(12)})
    answers_alike(masked, made, (1, 8, 8))
    assert type(made[4][0]) is nn.Linear


def test_one_layer_at_a_time():
    net, seen = toy_network(), []

    def retrain(network):
        seen.append([type(network[i]) for i in (0, 4)])
        return network

    *_, last = decompose_along(net, {"4": SVD(3), "0": Tucker(1, 2)}, retrain)
    assert seen == [[nn.Conv2d, nn.Sequential], [nn.Sequential, nn.Sequential]]
    at_once = decompose(net, {"0": Tucker(1, 2), "4": SVD(3)})
    answers_alike(at_once.eval(), last.eval(), (1, 8, 8))


def test_ranks_by_vbmf_find_those_of_a_noisy_weight():
    layer = low_tucker(32, 24, ranks=(5, 3))
    layer.weight.data += 0.02 * torch.randn_like(layer.weight)
    assert tucker_by_vbmf(layer) == Tucker(3, 5)


def test_of_groups_the_largest_rank_counts():
    one, other = (low_tucker(32, 24, ranks=ranks) for ranks in ((5, 3), (2, 4)))
    both = nn.Conv2d(48, 64, one.kernel_size, groups=2)
    both.weight.data = torch.cat([one.weight, other.weight]).detach()
    both.weight.data += 0.02 * torch.randn_like(both.weight)
    assert tucker_by_vbmf(both) == Tucker(4, 5)


@pytest.mark.parametrize("seed", range(10))
def test_of_one_channel_the_rank_is_one(seed):
    torch.manual_seed(seed)
    how = tucker_by_vbmf(nn.Conv2d(1, 12, 3))
    assert how.inputs == 1
    decompose(nn.Conv2d(1, 12, 3), {"": how})


def test_a_weight_of_noise_or_zeros_has_ranks_of_one():
    layer = convolution(channels=16, filters=16)
    layer.weight.data = torch.randn(16, 16, 3, 3)
    assert tucker_by_vbmf(layer) == Tucker(1, 1)
    nn.init.zeros_(layer.weight)
    assert tucker_by_vbmf(layer) == Tucker(1, 1)
    zeros = decompose(layer, {"": tucker_by_vbmf(layer)})
    answers_alike(layer, zeros, (16, 5, 5))


@pytest.mark.parametrize("kind", [SVD, CP, Tucker, TensorTrain])
def test_a_weight_of_zeros_stays_zeros(kind):
    layer = convolution()
    nn.init.zeros_(layer.weight)
    how = Tucker(2, 2) if kind is Tucker else kind(2)
    answers_alike(layer, decompose(layer, {"": how}), (4, 7, 7))


@pytest.mark.parametrize("rank", [0, -1, 7, 2.0, True])
def test_ranks_that_cannot_be_are_refused_by_name(rank):
    net = nn.Sequential(convolution(channels=7, filters=6), nn.Flatten(), nn.Linear(6, 9))
    for name, how in {
        "0": SVD(rank),
        "2": SVD(rank),
    }.items():
        with pytest.raises(LabError, match=f"layer {name} cannot have a rank of {rank}.*1 to 6"):
            decompose(net, {name: how})
    for how in (Tucker(2, rank), Tucker(8 if rank == 7 else rank, 2)):
        with pytest.raises(LabError, match="layer 0 cannot have a rank of its"):
            decompose(net, {"0": how})
    above = 99 if rank == 7 else rank
    for how in (CP(above), TensorTrain(above), TensorTrain((2, 2, above))):
        with pytest.raises(LabError, match=f"layer 0 cannot have a rank of {above}"):
            decompose(net, {"0": how})
    with pytest.raises(LabError, match=f"layer 2 cannot have a rank of {above}"):
        decompose(net, {"2": TensorTrain(above, (2, 3), (3, 3))})


def test_ranks_that_cannot_be_together_are_refused():
    net = nn.Sequential(convolution(channels=7, filters=6), nn.Flatten(), nn.Linear(12, 12))
    flat = nn.Conv2d(64, 8, 3)
    for layer, how in (
        (net, {"0": TensorTrain((1, 4, 2))}),  # of 3 rows
        (net, {"2": TensorTrain((1, 5), (2, 2, 3), (2, 2, 3))}),
        (flat, {"": Tucker(10, 1)}),
        (nn.Conv2d(8, 64, 3), {"": Tucker(1, 10)}),
    ):
        with pytest.raises(LabError, match="cannot have a rank"):
            decompose(layer, how)
    with pytest.raises(LabError, match="a convolution"):
        decompose(net, {"0": TensorTrain(2, (2, 2), (2, 2))})


def test_ranks_may_be_integers_of_numpy():
    layer = nn.Linear(12, 8)
    assert decompose(layer, {"": SVD(np.int64(3))})[0].out_features == 3
    made = decompose(layer, {"": TensorTrain(np.int64(2))})
    assert [tuple(core.shape) for core in made.cores()] == made.shapes()


@pytest.mark.parametrize("ranks", [(64, 1), (2, 8), (64, 8)])
def test_a_full_rank_beside_a_small_one_asks_for_no_chance(ranks):
    layer, state = nn.Conv2d(64, 8, 3, padding=1), np.random.get_state()[1].copy()
    once, twice = (decompose(layer, {"": Tucker(*ranks)}) for _ in range(2))
    answers_alike(once, twice, (64, 5, 5), 0)
    assert np.array_equal(np.random.get_state()[1], state)


def test_a_bias_that_is_not_finite_is_refused():
    layer = nn.Linear(4, 4)
    nn.init.constant_(layer.bias, math.nan)
    with pytest.raises(LabError, match="not finite"):
        decompose(layer, {"": SVD(2)})


def test_shapes_that_do_not_factor_are_refused_by_name():
    net = nn.Sequential(nn.Linear(12, 3))
    for how in (
        TensorTrain(2),  # 3 outputs into 3 digits above 1
        TensorTrain(2, (2, 2), (2, 2)),  # too small
        TensorTrain(2, (3, 4), (3,)),
        TensorTrain((2, 2), (3, 4), (2, 2)),
        TensorTrain(2, (0, 4), (2, 2)),
    ):
        with pytest.raises(LabError, match="layer 0"):
            decompose(net, {"0": how})


@pytest.mark.parametrize("how", [CP(1), Tucker(1, 1), TensorTrain(1)])
def test_where_nothing_is_gained_the_error_says_so(how):
    net = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3, groups=4))
    with pytest.raises(LabError, match=r"layer 0 is a 1x1 convolution.*SVD\(rank\), or leave"):
        decompose(net, {"0": how})
    for each in (how, SVD(1)):
        with pytest.raises(LabError, match=r"layer 1 is depthwise.*leave it as it is"):
            decompose(net, {"1": each})


def test_other_layers_and_names_are_refused():
    attention = nn.MultiheadAttention(4, 2)
    for net, name, how in (
        (nn.Sequential(nn.Linear(4, 4)), "0", CP(1)),
        (nn.Sequential(nn.Linear(4, 4)), "0", Tucker(1, 1)),
        (nn.Sequential(nn.Conv1d(4, 4, 3)), "0", SVD(1)),
        (attention, "out_proj", SVD(1)),  # which reads the layer's weight itself
    ):
        with pytest.raises(LabError, match=f"layer {name} is a"):
            decompose(net, {name: how})
    with pytest.raises(LabError, match="there is no layer 9"):
        decompose(toy_network(), {"9": SVD(1)})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(value):
    net = toy_network()
    net[0].weight.data[0, 0, 0, 0] = net[4].weight.data[0, 0] = value
    for name, how in (("0", SVD(1)), ("0", CP(1)), ("0", Tucker(1, 1)), ("4", TensorTrain(1))):
        with pytest.raises(LabError, match=f"layer {name} has no weights, or some"):
            decompose(net, {name: how})


def test_the_fit_of_cp_can_be_another():
    layer, seen = convolution(), []

    def fit(tensor, rank):
        seen.append((tuple(tensor.shape), rank))
        return alternating(tensor, rank, seed=7, ridge=1e-6)

    decompose(layer, {"": CP(2, fit)})
    assert seen == [((6, 4, 3, 3), 2)]


def test_a_train_in_place_of_a_linear_layer_trains_further():
    made = decompose(toy_network(), {"4": TensorTrain(3)})
    assert isinstance(made[4], TTLinear)
    made(torch.randn(4, 1, 8, 8)).sum().backward()
    assert all(p.grad is not None for p in made.parameters())


def test_a_layer_that_is_not_there_is_found_before_anything_is_retrained():
    calls = []
    along = decompose_along(toy_network(), {"0": Tucker(1, 2), "seven": SVD(3)}, calls.append)
    with pytest.raises(LabError, match="seven"):
        next(along)
    assert not calls


def test_trains_are_ordered_for_a_batch():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), TTLinear((2, 4, 4, 2), (8, 8, 8, 8), (2, 2, 2)))
    for_one, for_many = ordered(net, 1), ordered(net, 1000)
    images = toy_images(1000, 0)
    assert mean_cost(for_many, images).fp_macs < mean_cost(for_one, images).fp_macs
    assert cost(for_one, (1, 8, 8)).fp_macs < cost(for_many, (1, 8, 8)).fp_macs
    answers_alike(for_one, for_many, (1, 8, 8), 1e-3)
    assert net[1].order == for_one[1].order


@pytest.mark.parametrize("pair", [(CP(3), SVD(4)), (Tucker(1, 2), TensorTrain(3))])
def test_other_runtimes_run_it(pair, tmp_path):
    made = decompose(toy_network().eval(), dict(zip(HOWS, pair, strict=True)))
    exported = OnnxNetwork(export_onnx(made, (1, 8, 8), tmp_path / "net.onnx"))
    answers_alike(made, exported, (1, 8, 8), 1e-5)
