import copy
import weakref
from itertools import pairwise

import pytest
import torch
from torch import nn

from labsupport.core.errors import LabError
from labsupport.methods.pruning import criteria
from labsupport.methods.pruning.schedules import (
    by_fraction,
    lowest,
    one_at_a_time,
    prune,
    prune_along,
)
from labsupport.methods.surgery import widths
from labsupport.network.modes import no_garbage_collection

SHAPE = (1, 6, 6)


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.ReLU(),
        nn.Conv2d(4, 8, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32, 6),
        nn.ReLU(),
        nn.Linear(6, 3),
    )


def test_the_strongest_filters_stay_in_order(net):
    with torch.no_grad():
        for filter_, size in zip(net[0].weight, (3.0, 1.0, 4.0, 2.0), strict=True):
            filter_.fill_(size)
    smaller = prune(net, SHAPE, {"0": 2}, criteria.l2)
    assert smaller[0].weight[:, 0, 0, 0].tolist() == [3, 4]
    assert torch.equal(smaller[2].weight, net[2].weight[:, [0, 2]])


def test_a_path_is_walked_from_one_network_to_the_next(net):
    seen = []

    def retrain(smaller):
        seen.append(widths(smaller, SHAPE))
        with torch.no_grad():
            smaller[0].bias += 1
        return smaller

    path = [{"0": 3}, {"0": 3, "2": 5}, {"2": 1, "5": 2}]
    nets = list(prune_along(path, net, SHAPE, criteria.l1, retrain))
    assert seen == [
        {"0": 3, "2": 8, "5": 6}, {"0": 3, "2": 5, "5": 6}, {"0": 3, "2": 1, "5": 2},
    ]  # fmt: skip
    torch.testing.assert_close(nets[2][0].bias, nets[0][0].bias + 2)
    assert widths(net, SHAPE) == {"0": 4, "2": 8, "5": 6}


def test_pruned_networks_that_nobody_wants_are_gone_at_once(net):
    """Not at the next garbage collection: until then several large ones could pile up."""
    before = copy.deepcopy(net)
    with no_garbage_collection():
        smaller = prune(before, SHAPE, {"0": 2}, criteria.l2)
        weights = [weakref.ref(p) for model in (before, smaller) for p in model.parameters()]
        del before, smaller
        assert not [ref for ref in weights if ref() is not None]


def test_one_at_a_time_passes_every_width():
    path = list(one_at_a_time({"a": 4, "b": 3, "c": 9}, {"a": 2, "b": 1}))
    assert path == [
        {"a": 3, "b": 3, "c": 9}, {"a": 2, "b": 3, "c": 9},
        {"a": 2, "b": 2, "c": 9}, {"a": 2, "b": 1, "c": 9},
    ]  # fmt: skip


@pytest.mark.parametrize("fraction", [0.01, 0.3, 0.5, 0.99])
def test_by_fraction_shrinks_all_and_ends_where_asked(fraction):
    start, end = {"a": 100, "b": 7}, {"a": 3, "b": 7}
    path = [start, *by_fraction(start, end, fraction)]
    assert path[-1] == end
    for before, after in pairwise(path):
        assert after["b"] == 7
        assert after["a"] == max(3, min(before["a"] - 1, round(before["a"] * (1 - fraction))))


def test_a_path_that_goes_nowhere_is_empty():
    assert list(by_fraction({"a": 3}, {"a": 3}, 0.5)) == []
    assert list(one_at_a_time({"a": 3}, {"a": 3})) == []


@pytest.mark.parametrize("fraction", [0, 1, -1, float("nan")])
def test_a_fraction_that_is_none_is_refused(fraction):
    with pytest.raises(LabError, match="fraction"):
        by_fraction({"a": 3}, {"a": 1}, fraction)


@pytest.mark.parametrize("width", [0, 5, -1])
def test_a_width_that_cannot_be_is_refused_by_name(net, width):
    with pytest.raises(LabError, match=f"0 has 4 channels, not {width}"):
        prune(net, SHAPE, {"0": width}, criteria.l2)


@pytest.mark.parametrize("width", [2.0, "2", None])
def test_a_width_that_is_no_whole_number_is_refused_by_name(net, width):
    with pytest.raises(LabError, match=f"0 cannot have {width!r} channels"):
        prune(net, SHAPE, {"0": width}, criteria.l1)


def test_a_layer_that_cannot_be_pruned_is_refused_by_name(net):
    with pytest.raises(LabError, match="channels of 7 cannot be removed"):
        prune(net, SHAPE, {"7": 1}, criteria.l2)


def test_equal_scores_go_in_order_and_nan_is_refused():
    assert lowest(torch.tensor([1.0, 0.0, 0.0, 0.0]), 2) == [1, 2]
    with pytest.raises(LabError, match="NaN"):
        lowest(torch.tensor([1.0, float("nan")]), 1)


@pytest.mark.parametrize("end", [{"a": 4}, {"a": 0}, {"b": 1}, {"a": 1.5}])
def test_an_end_that_is_not_narrower_is_refused(end):
    for path in (lambda: one_at_a_time({"a": 3}, end), lambda: by_fraction({"a": 3}, end, 0.5)):
        with pytest.raises(LabError, match="cannot end with"):
            path()


def test_two_widths_for_channels_that_go_together_are_refused():
    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.o = nn.Linear(36, 8), nn.Linear(36, 8), nn.Linear(8, 3)

        def forward(self, x):
            return self.o(self.a(x.flatten(1)) + self.b(x.flatten(1)))

    net = Sum()
    assert widths(prune(net, SHAPE, {"b": 3}, criteria.l2), SHAPE) == {"a": 3}
    with pytest.raises(LabError, match="channels of a go together"):
        prune(net, SHAPE, {"a": 5, "b": 3}, criteria.l2)
