"""The clocked columns of a scorecard from times that are known, the counted ones by hand."""

from dataclasses import replace

import pandas as pd
import pytest
import torch
from torch import nn

from labsupport.core.errors import LabError
from labsupport.data import Split, load
from labsupport.measure.anchor import ANCHOR
from labsupport.measure.cards import clocked_columns, measure
from labsupport.measure.clocking import Clocking, Turn
from labsupport.methods.early_exit import attach_branches, entropy, side_branch
from labsupport.models import build
from labsupport.network.cost import parameter_count
from labsupport.records.scorecard import COLUMNS
from labsupport.training import evaluate, predict


def clocked(**times_ms):
    """A clocking in which each name took these times, one per round, and the anchor half a ms."""
    rows = [
        (name, round_, int(ms * 1e6))
        for name, times in (times_ms | {ANCHOR: (0.5,) * 5}).items()
        for round_, ms in enumerate(times)
    ]
    turns = {name: Turn(lambda: int) for name in times_ms}
    return Clocking(pd.DataFrame(rows, columns=["name", "round", "ns"]), turns)


TIMES = (4, 9, 2, 3, 5)  # quartiles 3 and 5


def test_median_spread_and_ratios_of_a_call():
    clocking = clocked(other=(2, 3, 2, 3, 2), net=TIMES)
    assert clocked_columns(clocking, "net", "large") == {
        "latency_large_ms": 4,
        "latency_large_iqr_ms": 2,
        "latency_large_anchor_ratio_clocked": 8,
        # The rounds' ratios are 2, 3, 1, 1 and 2.5.
        "latency_large_base_ratio_clocked": 2,
        "latency_large_base_ratio_low_clocked": 1,
        "latency_large_base_ratio_high_clocked": 3,
    }


def test_a_call_of_many_images_counts_for_one():
    assert clocked_columns(clocked(net=TIMES), "net", "b1", images=4) == {
        "latency_b1_ms": 1,
        "latency_b1_iqr_ms": 0.5,
        "latency_b1_anchor_ratio_clocked": 2,
        "latency_b1_base_ratio_clocked": 1,
        "latency_b1_base_ratio_low_clocked": 1,
        "latency_b1_base_ratio_high_clocked": 1,
    }


@pytest.mark.parametrize("size", ["b1", "large"])
def test_the_columns_are_those_of_the_scorecard(size):
    assert clocked_columns(clocked(net=TIMES), "net", size).keys() <= set(COLUMNS)


def test_a_name_that_was_not_clocked_is_explained():
    with pytest.raises(LabError, match="'rival' was not clocked"):
        clocked_columns(clocked(net=TIMES), "rival", "b1")


@pytest.fixture(scope="module")
def splits():
    return load("mnist5k", max_train=200)


@pytest.fixture(scope="module")
def nets(splits):
    torch.manual_seed(0)
    base = build("mlp", splits.input_shape, depth=1, width=16)
    branchy = attach_branches(base, {3: side_branch((16,), 10)})
    first, _ = branchy.all_logits(splits.test.x)
    return {"base": base, "branchy": branchy.with_thresholds([entropy(first).median().item()])}


def test_counted_columns_of_networks_conditional_or_not(splits, nets):
    figures = measure(nets, splits, large_batch=8, train_batch=8, rounds=2)
    stem, head = 784 * 16, 16 * 10
    where = nets["branchy"].exits(splits.test.x)[1]
    stays = where.double().mean().item()
    assert 0.3 < stays < 0.7
    assert figures["base"]["macs"] == stem + head
    assert figures["branchy"]["macs"] == pytest.approx(stem + head + stays * head)
    for name, net in nets.items():
        right = evaluate(net, splits.test).accuracy
        assert figures[name]["accuracy"] == pytest.approx(right)
        assert figures[name]["parameters"] == parameter_count(net)
    base, branchy = (predict(net, splits.test).argmax(1) for net in nets.values())
    alike = (base == branchy).double().mean().item()
    assert figures["branchy"]["agreement"] == pytest.approx(alike)
    assert figures["base"]["agreement"] == 1


class ByBrightness(nn.Module):
    """Dark images take much memory; of bright ones nothing is trained."""

    conditional = True

    def __init__(self):
        super().__init__()
        self.register_buffer("rules", torch.ones(784, 10))
        self.rest = nn.Sequential(nn.Flatten(), nn.Linear(784, 5000), nn.Linear(5000, 10))

    def all_logits(self, x):
        return [x.flatten(1) @ self.rules, self.rest(x)]

    def forward(self, x):
        cheap, dear = torch.zeros(len(x), 10), x.mean((1, 2, 3)) < 0.5
        cheap[~dear] = x[~dear].flatten(1) @ self.rules
        cheap[dear] = self.rest(x[dear]) if dear.any() else cheap[dear]
        return cheap


def test_memory_of_a_conditional_network_is_that_of_the_image_that_takes_most(splits):
    bright, dark = torch.ones(17, 1, 28, 28), torch.zeros(3, 1, 28, 28)
    part = Split(torch.cat([bright, dark]), torch.zeros(20, dtype=torch.int64))
    images = replace(splits, train=part, val=part, test=part)
    figures = measure({"net": ByBrightness()}, images, large_batch=8, train_batch=8, rounds=2)
    hidden = 4 * 5000
    weights = figures["net"]["resident_bytes"]
    assert weights + hidden < figures["net"]["memory_infer_bytes"] < weights + 2 * hidden
    # The first image leaves by rules, which have no gradient; the rest has one.
    assert figures["net"]["memory_train_bytes"] > 3 * weights
