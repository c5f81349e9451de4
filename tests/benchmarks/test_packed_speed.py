"""What packed signs gain on this machine against torch's floats, packing of the input included."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from labsupport.measure.latency import clock
from labsupport.measure.popcount import popcount_roof
from labsupport.methods.binary import BNN_OF_SIGNS, XNOR_WITHOUT_K, binarize
from labsupport.models import build
from labsupport.network.cost import batch_cost
from labsupport.runtimes.packed import pack

pytestmark = pytest.mark.benchmark
WIDTH = 4096


def middle(layer, shape):
    """A layer in floats, and the same layer binary and packed."""
    torch.manual_seed(0)
    ends = nn.Conv2d(1, 1, 1), nn.Linear(1, 1)
    binary = binarize(nn.ModuleList([ends[0], layer, ends[1]]), XNOR_WITHOUT_K)[1][1].eval()
    return layer.eval(), pack(nn.Sequential(binary), shape)


def gain(names, floats, packed, x, **options):
    """How many times faster than floats, printed with its interval."""
    ratio = clock({"torch": floats, "packed": packed}, x, **options).ratio("torch", "packed")
    print(f"\n{names}: torch / packed {ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]")
    return ratio.value


@pytest.mark.parametrize(("batch", "least"), [(1, 30), (64, 8), (256, 6)])
def test_a_product_of_4096_x_4096(batch, least):
    floats, packed = middle(nn.Linear(WIDTH, WIDTH), (WIDTH,))
    x = torch.randn(batch, WIDTH)
    # Many calls in a turn, as the first ones fetch again what the other network has pushed out.
    often = {"rounds": 15, "calls": 20} if batch == 1 else {"rounds": 6, "calls": 5}
    assert gain(f"batch {batch}", floats, packed, x, **often) >= least


def test_the_share_of_the_roof():
    _, packed = middle(nn.Linear(WIDTH, WIDTH), (WIDTH,))
    x = torch.randn(256, WIDTH)
    clocked = clock({"packed": packed}, x, rounds=6, calls=5)
    rate = batch_cost(packed, x).binary_ops / clocked.median_ms("packed") / 1e6
    roof = popcount_roof()
    print(f"\n{rate:.0f} of {roof:.0f} billion binary operations a second: {rate / roof:.2f}")
    assert rate / roof >= 0.5


def test_a_convolution():
    floats, packed = middle(nn.Conv2d(256, 256, 3, padding=1), (256, 14, 14))
    x = torch.randn(16, 256, 14, 14)
    assert gain("3 x 3, 256 channels, batch 16", floats, packed, x, rounds=6, calls=5) >= 4


def test_a_whole_mlp():
    floats = build("mlp", (1, 28, 28), depth=3, width=WIDTH).eval()
    packed = pack(binarize(floats, BNN_OF_SIGNS), (1, 28, 28))
    x = torch.rand(1, 1, 28, 28)
    assert gain("MLP 3 x 4096, batch 1", floats, packed, x, rounds=10, calls=20) >= 25


def test_lenet5():
    floats = build("lenet5", (1, 28, 28)).eval()
    packed = pack(binarize(floats, XNOR_WITHOUT_K), (1, 28, 28))
    assert gain("LeNet-5, batch 256", floats, packed, torch.rand(256, 1, 28, 28), rounds=6) > 0.5
