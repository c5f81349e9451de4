"""Masked convolutions against the layers that they stand for."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_spatial import mask_by_chance
from torch import nn

from labsupport.core.errors import LabError
from labsupport.data import Split
from labsupport.methods.spatial import Granularity, Mask, everything, spatialize
from labsupport.network.cost import batch_cost, mean_cost
from labsupport.runtimes.masked import MaskedConvolution, masked_conv


def spatial_of(conv, image, granularity, p, seed=0):
    """A spatial network of one convolution, with a mask by chance."""
    network = spatialize(nn.Sequential(conv, nn.ReLU()).eval(), image)
    (layer,) = network.layers.values()
    layer.set_mask(mask_by_chance(layer.ofmap, granularity, p, seed))
    return network, layer.mask


@settings(max_examples=40)
@given(
    granularity=st.sampled_from(Granularity),
    p=st.sampled_from([2, 3, 4]),
    sides=st.tuples(st.integers(3, 9), st.integers(3, 9)),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    bias=st.booleans(),
    seed=st.integers(0, 50),
)
def test_maps_are_those_of_a_spatial_layer(
    granularity, p, sides, kernel, stride, padding, bias, seed
):
    torch.manual_seed(seed)
    conv = nn.Conv2d(3, 5, kernel, stride, padding, bias=bias).double()
    network, mask = spatial_of(conv, (3, *sides), granularity, p, seed)
    x = torch.randn(2, 3, *sides, dtype=torch.float64) - 0.2
    found = masked_conv(x, conv.weight, conv.bias, stride, padding, mask)
    torch.testing.assert_close(found, network(x).detach())


@pytest.mark.parametrize("granularity", Granularity)
def test_its_cost_is_that_of_the_spatial_layer(granularity):
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 5, 3, 2, 1).double()
    network, mask = spatial_of(conv, (3, 9, 12), granularity, 2)
    split = Split(torch.randn(4, 3, 9, 12, dtype=torch.float64), torch.zeros(4).long())
    kernel = MaskedConvolution(conv.weight, conv.bias, (2, 2), (1, 1), mask, (3, 9, 12))
    assert mean_cost(kernel, split, batch_size=3) == mean_cost(network, split)
    unbiased = MaskedConvolution(conv.weight, None, (2, 2), (1, 1), mask, (3, 9, 12))
    assert batch_cost(unbiased, split.x).additions == 0


def test_in_floats_of_32_bits_and_in_a_copy():
    torch.manual_seed(0)
    conv = nn.Conv2d(16, 24, 3, padding=1)
    network, mask = spatial_of(conv, (16, 11, 10), Granularity.FILTER, 3)
    kernel = MaskedConvolution(conv.weight, conv.bias, (1, 1), (1, 1), mask, (16, 11, 10))
    x = torch.randn(2, 16, 11, 10)
    torch.testing.assert_close(kernel(x), network(x).detach(), rtol=0, atol=1e-4)
    assert torch.equal(copy.deepcopy(kernel)(x), kernel(x))
    assert repr(kernel) == "MaskedConvolution(the convolution, 3 x 3)"


def test_what_the_kernel_does_not_know_is_refused():
    x, mask = torch.zeros(1, 4, 6, 6), Mask.uniform(2, 1)
    grouped = nn.Conv2d(4, 6, 3, groups=2)
    with pytest.raises(LabError, match=r"weights \(6, 2, 3, 3\) for 4 channels; .*without groups"):
        masked_conv(x, grouped.weight, None, (1, 1), (0, 0), mask)
    weight = torch.zeros(5, 4, 3, 3)
    with pytest.raises(LabError, match="the convolution is all ones"):
        masked_conv(x, weight, None, (1, 1), (0, 0), Mask.uniform(2, everything(2)))
    with pytest.raises(LabError, match="for the convolution; its ofmap"):
        masked_conv(x, weight, None, (1, 1), (0, 0), Mask(2, torch.ones(4, 1, 1).long()))
    kernel = MaskedConvolution(weight, None, (1, 1), (0, 0), mask, (4, 6, 6), "conv7")
    with pytest.raises(LabError, match=r"conv7 gets images of \(4, 6, 7\), not \(4, 6, 6\)"):
        kernel(torch.zeros(1, 4, 6, 7))
