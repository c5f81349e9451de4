"""What a tensor train takes on this machine against the dense layer that it stands for."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from labsupport.measure.latency import clock
from labsupport.methods.decomposition import ordered
from labsupport.models import build

pytestmark = pytest.mark.benchmark


def test_tensornets_first_layer_at_a_batch_of_256():
    layer = ordered(build("tensornet", (1, 28, 28)), 256)[1]
    dense = nn.Linear(784, 256, bias=False)
    turns = clock({"dense": dense, "train": layer}, torch.randn(256, 784), rounds=15, calls=5)
    ratio = turns.ratio("train", "dense")
    print(f"\ntrain / dense {ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]")
    assert ratio.value <= 1.5
