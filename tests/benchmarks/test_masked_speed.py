"""What masked convolutions gain on this machine against torch's, layer by layer."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from labsupport.data import Split
from labsupport.measure.latency import clock
from labsupport.methods.spatial import Granularity, Mask, savings, spatialize
from labsupport.runtimes.spatial import as_kernels

pytestmark = pytest.mark.benchmark
# Channels, filters and side of layers of 3 x 3, in AlexNet for images of 32 x 32 and in ResNet-18.
LAYERS = {
    "AlexNet 2": (64, 192, 16),
    "AlexNet 3": (192, 384, 8),
    "AlexNet 4": (384, 256, 8),
    "ResNet-18 1": (64, 64, 32),
    "ResNet-18 2": (128, 128, 16),
    "ResNet-18 3": (256, 256, 8),
    "ResNet-18 4": (512, 512, 4),
}


def layer_with_images(channels, filters, side):
    """A convolution whose ofmaps are smooth, as those of images are: about half of it is zero."""
    torch.manual_seed(0)
    conv = nn.Conv2d(channels, filters, 3, padding=1)
    coarse = torch.randn(8, channels, -(-side // 4), -(-side // 4))
    x = nn.functional.interpolate(coarse, size=(side, side), mode="bilinear").relu()
    with torch.no_grad():
        conv.bias -= conv(x).mean((0, 2, 3)) + 0.3 * conv(x).std((0, 2, 3))
    return nn.Sequential(conv, nn.ReLU()).eval(), x


def masks(network, granularity, p):
    """One of the patterns with a single one, or one for each filter in turn."""
    (layer,) = network.layers.values()
    shape = granularity.shape(layer.ofmap, p)
    return Mask(p, 2 ** (torch.arange(shape.numel()) % (p * p)).view(shape))


@pytest.mark.parametrize("p", [2, 3])
@pytest.mark.parametrize("granularity", [Granularity.LAYER, Granularity.FILTER])
@pytest.mark.parametrize("name", LAYERS)
def test_saved_macs_are_saved_time(name, granularity, p):
    plain, x = layer_with_images(*LAYERS[name])
    network = spatialize(plain, tuple(x.shape[1:]))
    network.set_masks({"0": masks(network, granularity, p)})
    saved = savings(network, Split(x[:1], torch.zeros(1))).of_convolutions
    kernels = as_kernels(network, tuple(x.shape[1:]))
    torch.testing.assert_close(kernels(x[:1]), network(x[:1]).detach(), rtol=0, atol=1e-4)
    ratio = clock({"torch": plain, "kernels": kernels}, x[:1]).ratio("torch", "kernels")
    print(
        f"\n{name}, {p} x {p} by {granularity.name.lower()}: {saved:.1%} of the MACs saved, "
        f"torch / kernels {ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]"
    )
    assert ratio.value > 0.2
