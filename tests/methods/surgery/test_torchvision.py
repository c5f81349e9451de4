"""Torchvision's networks at small inputs: nearly all of their channels are reached, exactly."""

import pytest
import torch
from made_nets import drawn, images
from torchvision import models
from torchvision.models.convnext import CNBlockConfig
from torchvision.models.googlenet import GoogLeNet
from torchvision.models.inception import Inception3

from labsupport.methods.surgery import (
    channel_groups,
    mask_channels,
    prunable,
    remove_channels,
    widths,
)

THREE = {"num_classes": 3}


def convnext():
    return models.ConvNeXt([CNBlockConfig(8, 16, 1), CNBlockConfig(16, None, 1)], **THREE)


def vit():
    return models.VisionTransformer(32, 16, 2, 2, 16, 32, **THREE)


def swin():
    return models.SwinTransformer([4, 4], 12, [1, 1], [2, 2], [4, 4], **THREE)


# Network, side of its images, share of its weights in layers that can lose channels.
NETS = {
    "resnet18": (lambda: models.resnet18(**THREE), 32, 1.0),
    "mobilenet_v2": (lambda: models.mobilenet_v2(**THREE), 32, 1.0),
    "mobilenet_v3_small": (lambda: models.mobilenet_v3_small(**THREE), 32, 1.0),
    "efficientnet_b0": (lambda: models.efficientnet_b0(**THREE), 32, 1.0),
    "mnasnet0_5": (lambda: models.mnasnet0_5(**THREE), 32, 1.0),
    "regnet_y_400mf": (lambda: models.regnet_y_400mf(**THREE), 32, 1.0),
    "squeezenet1_1": (lambda: models.squeezenet1_1(**THREE), 32, 1.0),
    "googlenet": (lambda: GoogLeNet(3, False, init_weights=False), 32, 1.0),
    "inception_v3": (lambda: Inception3(3, False, init_weights=False), 80, 1.0),
    "densenet121": (lambda: models.densenet121(**THREE), 32, 1.0),
    "shufflenet_v2_x0_5": (lambda: models.shufflenet_v2_x0_5(**THREE), 32, 0.95),
    "convnext": (convnext, 32, 0.5),
    "vit": (vit, 32, 0.1),
    "swin": (swin, 32, 0.4),
}


def share_of_parameters(net, groups):
    layers = {m.layer for g in groups for m in (*g.producers, *g.followers, *g.consumers)}
    held = sum(p.numel() for name in layers for p in net.get_submodule(name).parameters())
    return held / sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize("name", NETS)
def test_removed_is_masked_and_nearly_all_can_be_removed(name):
    torch.manual_seed(0)
    make, side, least_share = NETS[name]
    net, shape = make().double(), (3, side, side)
    drawn(net)
    net.eval()
    groups = [group for group in prunable(channel_groups(net, shape)) if group.channels > 1]
    assert share_of_parameters(net, groups) >= least_share
    removed = {group.name: range(0, group.channels, 2) for group in groups}
    smaller, masked = (f(net, shape, removed) for f in (remove_channels, mask_channels))
    x = images(shape, 2)
    with torch.inference_mode():
        torch.testing.assert_close(smaller(x), masked(x), rtol=1e-6, atol=1e-9)
        assert not torch.allclose(smaller(x), net(x), rtol=1e-3)
    after = widths(smaller, shape)
    assert {g.name: after[g.name] for g in groups} == {g.name: g.channels // 2 for g in groups}
