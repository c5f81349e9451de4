"""What the clock finds where the answer is known: equal things, twice the work, real batches."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from labsupport.measure.latency import batch_sweep, clock
from labsupport.models import build

pytestmark = pytest.mark.benchmark
NAMES = ("mlp", "lenet5", "rules_cnn")
SHAPE = (1, 28, 28)


@pytest.mark.parametrize("name", NAMES)
def test_equal_networks_take_equal_time(name):
    clocked = clock({name: build(name, SHAPE), "twin": build(name, SHAPE)}, torch.rand(1, *SHAPE))
    ratio = clocked.ratio("twin", name)
    print(f"\n{name}: {clocked.median_ms(name):.4f} ms, twin / {name} {ratio}")
    assert 0.5 < ratio.value < 2


def test_three_times_the_work_takes_longer():
    once = nn.Sequential(*[nn.Linear(512, 512) for _ in range(4)])
    thrice = nn.Sequential(*[nn.Linear(512, 512) for _ in range(12)])
    ratio = clock({"once": once, "thrice": thrice}, torch.rand(64, 512)).ratio("thrice", "once")
    print(f"\nthree times the layers: {ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]")
    assert 1.8 < ratio.value < 5


def test_a_batch_shortens_the_time_per_image_where_weights_are_the_limit():
    image_ms = {}
    for name in NAMES:
        swept = batch_sweep(build(name, SHAPE), torch.rand(64, *SHAPE), [1, 8, 64], rounds=10).table
        print(f"\n{name}\n{swept[['batch', 'median_ms', 'iqr_ms', 'image_ms']].to_string()}")
        image_ms[name] = swept["image_ms"].tolist()
    # The maps of the CNNs grow with the batch and leave the caches, so nothing is asked of them.
    assert image_ms["mlp"][-1] < image_ms["mlp"][0]
