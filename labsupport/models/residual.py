"""Residual networks of torchvision, for images of any number of channels."""

from __future__ import annotations

from torch import nn


def resnet18(input_shape: tuple[int, int, int], classes: int = 10) -> nn.Module:
    """torchvision's ResNet-18, untrained; its first convolution has the channels of the images.

    He et al. 2016, table 1: 11,181,642 parameters on color images of 10 classes.
    """
    from torchvision import models  # takes seconds

    network: nn.Module = models.resnet18(num_classes=classes)
    if input_shape[0] != 3:
        network.conv1 = nn.Conv2d(input_shape[0], 64, 7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
    return network
