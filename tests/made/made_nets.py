"""Small networks of every kind that surgery knows, and some that it does not."""

import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models import MobileNetV2, ResNet
from torchvision.models.resnet import BasicBlock

from labsupport.models import build

IMAGE = (1, 8, 8)


class Block(nn.Module):
    """A residual block with batch norms."""

    def __init__(self, width):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(width, 5, 3, padding=1), nn.BatchNorm2d(5)
        self.conv2, self.norm2 = nn.Conv2d(5, width, 3, padding=1), nn.BatchNorm2d(width)

    def forward(self, x):
        out = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return torch.relu(out + x)


class Residual(nn.Module):
    """A stem, two blocks on the same channels, global average, one linear layer."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 6, 3, padding=1)
        self.blocks = nn.Sequential(Block(6), Block(6))
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


class Functional(nn.Module):
    """Everything but the weights written as calls, the flatten as a view."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 6, 3, stride=2)
        self.out = nn.Linear(6 * 4, 3)

    def forward(self, x):
        x = F.dropout(F.leaky_relu(self.first(x)), 0.5, self.training)
        x = F.avg_pool2d(self.second(x).relu(), 1)
        return self.out(x.view(x.size(0), -1))


class Fire(nn.Module):
    """Squeeze, two convolutions side by side, a norm over both, as in SqueezeNet and Inception."""

    def __init__(self):
        super().__init__()
        self.squeeze = nn.Conv2d(1, 3, 1)
        self.small, self.large = nn.Conv2d(3, 5, 1), nn.Conv2d(3, 4, 3, padding=1)
        self.norm, self.head = nn.BatchNorm2d(9), nn.Linear(9 * 16, 3)

    def forward(self, x):
        x = self.squeeze(x).relu()
        x = torch.cat([self.small(x), self.large(x)], 1)
        return self.head(F.max_pool2d(self.norm(x).relu(), 2).flatten(1))


class Shuffled(nn.Module):
    """Halves, one of them convolved, put together and shuffled, as in ShuffleNet V2."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 16, 1)
        self.inner, self.outer = nn.Conv2d(8, 6, 3, padding=1), nn.Conv2d(6, 8, 1)
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        for _ in range(2):
            left, right = self.stem(x).chunk(2, dim=1)
            joined = torch.cat((left, self.outer(self.inner(right).relu())), dim=1)
            n, c, h, w = joined.size()
            joined = joined.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, c, h, w)
        return self.head(joined.mean([2, 3]))


class Excited(nn.Module):
    """A grouped convolution between two pointwise ones, and a factor for each channel."""

    def __init__(self):
        super().__init__()
        self.first, self.grouped = nn.Conv2d(1, 12, 1), nn.Conv2d(12, 8, 3, groups=2, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.squeeze, self.excite = nn.Conv2d(8, 3, 1), nn.Conv2d(3, 8, 1)
        self.last, self.head = nn.Conv2d(8, 5, 1), nn.Linear(5, 3)

    def forward(self, x):
        x = self.norm(self.grouped(self.first(x).relu()))
        scale = self.excite(F.silu(self.squeeze(F.adaptive_avg_pool2d(x, 1))))
        return self.head(self.last(torch.sigmoid(scale) * x).mean((2, 3)))


class ChannelsLast(nn.Module):
    """Patches as rows, a norm over their features, an MLP with a skip, as in ConvNeXt and ViT."""

    def __init__(self):
        super().__init__()
        self.patches, self.norm = nn.Conv2d(1, 6, 4, stride=4), nn.LayerNorm(6)
        self.mlp = nn.Sequential(nn.Linear(6, 10), nn.GELU(), nn.Dropout(), nn.Linear(10, 6))
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        x = self.patches(x).permute(0, 2, 3, 1)
        return self.head((x + self.mlp(self.norm(x))).mean((1, 2)))


def plain():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Flatten(),
        nn.BatchNorm1d(24),
        nn.Linear(24, 7),
        nn.Tanh(),
        nn.Dropout(0.5),
        nn.Linear(7, 3),
    )


def depthwise():
    return nn.Sequential(
        nn.Conv2d(1, 6, 1),
        nn.Conv2d(6, 6, 3, groups=6),
        nn.BatchNorm2d(6),
        nn.ReLU6(),
        nn.Conv2d(6, 4, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 3),
    )


NETS = {
    "plain": (plain, IMAGE),
    "residual": (Residual, IMAGE),
    "functional": (Functional, IMAGE),
    "depthwise": (depthwise, IMAGE),
    "fire": (Fire, IMAGE),
    "shuffled": (Shuffled, IMAGE),
    "excited": (Excited, IMAGE),
    "channels_last": (ChannelsLast, IMAGE),
    "crelu": (lambda: build("compact", IMAGE, 3, block="crelu", layout="6 8 | 12"), IMAGE),
    "rules_cnn": (lambda: build("rules_cnn", IMAGE, 3), IMAGE),
    "mlp": (lambda: build("mlp", IMAGE, 3), IMAGE),
    "resnet10": (lambda: ResNet(BasicBlock, [1, 1, 1, 1], 3), (3, 32, 32)),
    "mobilenet": (lambda: MobileNetV2(3, 0.5, [[1, 16, 1, 1], [6, 24, 2, 2]]), (3, 32, 32)),
}


def images(shape, n=3):
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(0)).double()


def made(name, seed=0):
    """A network in eval mode, its batch norms with statistics unlike those of a new one."""
    make, shape = NETS[name]
    torch.manual_seed(seed)
    net = make()
    drawn(net)
    return net.double().eval(), shape


def drawn(net):
    """Draw what a new network has as constants: all there is of a norm, scales, zero weights."""
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            for tensor in (layer.weight, layer.bias, layer.running_mean):
                nn.init.uniform_(tensor, -1, 1)
            nn.init.uniform_(layer.running_var, 0.5, 2)
    for tensor in net.parameters():
        if bool((tensor == tensor.flatten()[0]).all()):
            nn.init.uniform_(tensor, -1, 1)
