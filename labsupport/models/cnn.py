"""The convolutional networks of the labs, each a plain `nn.Sequential`."""

from __future__ import annotations

import math
from itertools import pairwise

from torch import nn

Shape = tuple[int, int, int]


def rules_cnn(input_shape: Shape, classes: int = 10) -> nn.Sequential:
    """The early-exit case study's CNN: two unpadded 3x3 convolutions, one pooling, two linear.

    On MNIST the first ReLU gives 32 x 26 x 26 features: 1,199,882 parameters.
    """
    channels, height, width = input_shape
    features = 64 * ((height - 4) // 2) * ((width - 4) // 2)
    return nn.Sequential(
        nn.Conv2d(channels, 32, 3),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(features, 128),
        nn.ReLU(),
        nn.Dropout(0.25),
        nn.Linear(128, classes),
    )


def pruning_cnn(input_shape: Shape, classes: int = 10) -> nn.Sequential:
    """The compressed MNIST classifier's base: two padded 3x3 convolutions, no pooling, two linear.

    On MNIST: 25,706,186 parameters, nearly all of them in the first linear layer.
    """
    channels, height, width = input_shape
    return nn.Sequential(
        nn.Conv2d(channels, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * height * width, 1024),
        nn.ReLU(),
        nn.Linear(1024, classes),
    )


def lenet5(input_shape: Shape, classes: int = 10) -> nn.Sequential:
    """LeNet-5 in its Caffe form (20 and 50 filters of 5x5, 500 units), the one that gets pruned.

    LeCun et al. 1998, section II.B, as simplified by Han et al. 2016, table 1: 431,080
    parameters on MNIST.
    """
    channels, height, width = input_shape
    features = 50 * math.prod(((side - 4) // 2 - 4) // 2 for side in (height, width))
    return nn.Sequential(
        nn.Conv2d(channels, 20, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(20, 50, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(features, 500),
        nn.ReLU(),
        nn.Linear(500, classes),
    )


def pooled_cnn(input_shape: Shape, classes: int = 10, *, width: int = 16) -> nn.Sequential:
    """Three padded 3x3 convolutions of width, 2 width and 4 width filters, averaged over the image.

    Each is normalized (Ioffe and Szegedy 2015). The average over positions before the only linear
    layer (Lin et al. 2014, section 3.2) makes the parameters the same for every image size:
    24,058 with `width=16` on gray images.
    """
    widths = (input_shape[0], width, 2 * width, 4 * width)
    first, second, third = (_normalized(*pair) for pair in pairwise(widths))
    return nn.Sequential(
        *(*first, nn.MaxPool2d(2), *second, nn.MaxPool2d(2), *third),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4 * width, classes),
    )


def alexnet(input_shape: Shape, classes: int = 10, *, width: int = 32) -> nn.Sequential:
    """AlexNet for small images: five padded 3x3 convolutions of width times 1, 3, 6, 4, 4 filters.

    Krizhevsky et al. 2012, section 3, in the proportions of torchvision's (64, 192, 384, 256, 256
    at `width=64`), each normalized; pooled where the original is, and one hidden layer in place of
    two. 43.2 M MACs on 3 x 32 x 32.
    """
    widths = [input_shape[0], *(width * times for times in (1, 3, 6, 4, 4))]
    first, second, *others = (_normalized(*pair) for pair in pairwise(widths))
    features = widths[-1] * math.prod(side // 8 for side in input_shape[1:])
    return nn.Sequential(
        *(*first, nn.MaxPool2d(2), *second, nn.MaxPool2d(2)),
        *(layer for three in others for layer in three),
        *(nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.25)),
        *(nn.Linear(features, 16 * width), nn.ReLU(), nn.Linear(16 * width, classes)),
    )


def _normalized(channels: int, filters: int) -> tuple[nn.Module, ...]:
    """A padded 3x3 convolution, batch norm, ReLU; the norm's shift makes a bias idle."""
    convolution = nn.Conv2d(channels, filters, 3, padding=1, bias=False)
    return convolution, nn.BatchNorm2d(filters), nn.ReLU()
