"""Receptive fields against closed forms, and against the pixels whose gradients are not zero."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from made_nets import NETS, Excited
from torch import nn

from labsupport.core.errors import LabError
from labsupport.models import build
from labsupport.network.calls import kind_of
from labsupport.network.receptive_field import receptive_fields


def last(model, shape=(1, 40, 40)):
    return receptive_fields(model, shape).iloc[-1]


@given(st.integers(1, 6), st.sampled_from([1, 3, 5]))
def test_equal_kernels_in_a_row_see_one_plus_their_reach(layers, kernel):
    row = last(nn.Sequential(*[nn.Conv2d(1, 1, kernel) for _ in range(layers)]))
    assert (row.field_h, row.step_h, row.start_h) == (1 + layers * (kernel - 1), 1, 0)


def seen(model, shape, row, column):
    """First and last pixel, by axis, that a position of the last map depends on."""
    x = torch.zeros(1, *shape, dtype=torch.float64, requires_grad=True)
    model(x)[0, :, row, column].sum().backward()
    used = x.grad[0].abs().sum(0) > 0
    return [
        (int(axis.nonzero().min()), int(axis.nonzero().max()))
        for axis in (used.any(1), used.any(0))
    ]


layers = st.builds(
    lambda kernel, stride, padding, dilation: nn.Conv2d(
        1, 1, kernel, stride=stride, padding=padding, dilation=dilation
    ),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.integers(1, 2),
    st.integers(0, 1),
    st.integers(1, 2),
)
pools = st.integers(1, 3).map(nn.AvgPool2d)


@given(st.lists(st.one_of(layers, pools), min_size=1, max_size=3))
def test_the_field_is_where_the_gradient_is(stack):
    model, shape = nn.Sequential(*stack).double(), (1, 48, 48)
    for parameter in model.parameters():
        nn.init.ones_(parameter)
    row, size = last(model, shape), model(torch.zeros(1, *shape).double()).shape[2:]
    place = [side // 2 for side in size]
    for axis, (first, end) in zip("hw", seen(model, shape, *place), strict=True):
        start = row[f"start_{axis}"] + place["hw".index(axis)] * row[f"step_{axis}"]
        assert first >= max(start, 0)
        assert end <= start + row[f"field_{axis}"] - 1
        end_of_field = start + row[f"field_{axis}"] - 1
        if start >= 8 and end_of_field < 40:  # far from all padding, which nobody sees
            assert (first, end) == (start, end_of_field)


class Joined(nn.Module):
    """Two paths of other kernels, aligned at their first pixels, added or side by side."""

    def __init__(self, join):
        super().__init__()
        self.small, self.large, self.join = nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 5, padding=2), join

    def forward(self, x):
        return self.join(self.small(x), self.large(x))


@pytest.mark.parametrize("join", [torch.add, lambda a, b: torch.cat([a, b], 1)])
def test_joined_paths_see_what_both_see(join):
    row = last(
        nn.Sequential(
            nn.Conv2d(1, 1, 3), Joined(join), nn.Conv2d(int(2 - (join is torch.add)), 1, 3)
        )
    )
    assert (row.field_h, row.start_w) == (9, -2)


def test_same_padding_and_pooling_to_one():
    model = nn.Sequential(nn.Conv2d(1, 1, 3, padding="same"), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    rows = receptive_fields(model, (1, 8, 6))
    assert rows["name"].tolist() == ["0", "1"]
    assert rows[["field_h", "field_w", "start_h"]].to_numpy().tolist() == [[3, 3, -1], [10, 8, -1]]


@pytest.mark.parametrize(
    ("name", "field"), [("lenet5", 16), ("compact_mnist", 30), ("alexnet", 38)]
)
def test_fields_of_networks_of_the_course(name, field):
    """By hand: LeNet-5 sees 5, 6, 14, 16 pixels, the compact one 3, 4, 8, 12, 14, 22, 30."""
    rows = receptive_fields(build(name, (1, 28, 28)), (1, 28, 28))
    sliding = rows[~rows["kind"].str.startswith("Adaptive")]
    assert sliding.iloc[-1]["field_h"] == field


@pytest.mark.parametrize(
    "name", ["residual", "fire", "depthwise", "functional", "shuffled", "resnet10"]
)
def test_networks_of_many_kinds_have_fields_that_grow_where_maps_shrink(name):
    make, shape = NETS[name]
    rows = receptive_fields(make(), shape)
    assert (rows["field_h"] >= rows["step_h"]).all()
    assert rows["step_h"].is_monotonic_increasing


def test_what_resizes_maps_otherwise_is_named():
    with pytest.raises(LabError, match="what 1 does to the size"):
        receptive_fields(nn.Sequential(nn.Conv2d(1, 1, 3), nn.Upsample(scale_factor=2)), (1, 8, 8))
    with pytest.raises(LabError, match="mul does to the size"):
        receptive_fields(Excited(), (1, 8, 8))


class Convolved(nn.Module):
    """A convolution by torch's function, whose weights are another layer's."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x):
        return nn.functional.conv2d(x, self.inner.weight, padding=1)


@pytest.mark.parametrize(
    "layer", [nn.ConvTranspose2d(1, 1, 3, padding=1), Convolved(), nn.Linear(8, 8)], ids=kind_of
)
def test_what_mixes_positions_in_an_unknown_way_is_refused(layer):
    with pytest.raises(LabError, match="sees is not known"):
        receptive_fields(nn.Sequential(layer, nn.Conv2d(1, 1, 3)), (1, 8, 8))
