"""The closed forms against torch's own layers."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from labsupport.core.errors import LabError
from labsupport.measure.formulas import (
    conv2d_macs,
    conv2d_output_size,
    conv2d_parameters,
    linear_macs,
    linear_parameters,
)

convolutions = st.fixed_dictionaries(
    {
        "groups": st.integers(1, 3),
        "kernel": st.tuples(st.integers(1, 3), st.integers(1, 3)),
        "stride": st.tuples(st.integers(1, 3), st.integers(1, 3)),
        "padding": st.integers(0, 2),
        "dilation": st.integers(1, 2),
        "size": st.tuples(st.integers(5, 9), st.integers(5, 9)),
        "bias": st.booleans(),
    }
)


def sizes(*hidden: int) -> list[tuple[int, int]]:
    widths = [784, *hidden, 10]
    return list(pairwise(widths))


def test_mlps_of_the_course_by_hand():
    two, three = sizes(1024, 1024), sizes(1024, 1024, 1024)
    assert sum(linear_parameters(i, o) for i, o in two) == 1_863_690
    assert sum(linear_macs(i, o) for i, o in two) == 1_861_632
    assert sum(linear_parameters(i, o) for i, o in three) == 2_913_290
    assert sum(linear_macs(i, o) for i, o in three) == 2_910_208


def test_without_bias_there_is_a_parameter_less_per_output():
    assert linear_parameters(7, 5) - linear_parameters(7, 5, bias=False) == 5


@settings(max_examples=40)
@given(case=convolutions)
def test_convolutions_agree_with_torch(case):
    groups, size = case["groups"], case["size"]
    channels, filters = 2 * groups, 3 * groups
    shape = {name: case[name] for name in ("stride", "padding", "dilation")}
    layer = nn.Conv2d(channels, filters, case["kernel"], groups=groups, bias=case["bias"], **shape)
    output = layer(torch.zeros(1, channels, *size))
    assert conv2d_output_size(size, case["kernel"], **shape) == tuple(output.shape[2:])
    parameters = conv2d_parameters(
        channels, filters, case["kernel"], groups=groups, bias=case["bias"]
    )
    assert parameters == sum(p.numel() for p in layer.parameters())


def test_convolution_macs_by_brute_force():
    """Count the multiplications of a convolution with loops."""
    channels, filters, kernel, (rows, columns), groups = 4, 6, 3, (5, 2), 2
    multiplied = 0
    for _filter in range(filters):
        for _position in range(rows * columns):
            for _channel in range(channels // groups):
                multiplied += kernel * kernel
    assert conv2d_macs(channels, filters, kernel, (rows, columns), groups=groups) == multiplied


def test_a_kernel_larger_than_the_input_is_refused():
    with pytest.raises(LabError, match="larger than an input of 4"):
        conv2d_output_size(4, 5)


def test_channels_that_do_not_divide_are_refused():
    with pytest.raises(LabError, match="do not divide"):
        conv2d_parameters(3, 4, 3, groups=2)
