"""Small networks with spatial layers, masks by chance, and their savings patch by patch."""

import torch
from torch import nn
from torch.nn import functional as F

from labsupport.data import Split
from labsupport.methods.spatial import Granularity, Mask, patch_grid, patterns

SHAPE = (2, 7, 6)


class Block(nn.Module):
    """A residual block whose shortcut has a convolution of its own where the width changes."""

    def __init__(self, inputs, width, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.shortcut = nn.Conv2d(inputs, width, 1, stride) if inputs != width else nn.Identity()
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        out = self.conv2(self.relu(self.norm1(self.conv1(x))))
        out += self.shortcut(x)
        return self.relu(out)


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3, padding=1)
        self.blocks = nn.Sequential(Block(4, 4), Block(4, 6, stride=2))
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.stem(x)), 3, 1, 1)
        return self.head(self.blocks(x).mean((2, 3)))


def chain():
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 2, groups=2, bias=False), nn.BatchNorm2d(6), nn.ReLU(),
        nn.Flatten(), nn.Linear(24, 3),
    )  # fmt: skip


def made(make, seed=0):
    torch.manual_seed(seed)
    net = make()
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.running_mean, -0.5, 0.5)
    return net.double().eval()


def images(n=9, seed=3):
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(n, *SHAPE, generator=draw, dtype=torch.float64)
    return Split(x, torch.randint(3, (n,), generator=draw))


def mask_by_chance(ofmap, granularity=Granularity.PATCH, p=2, seed=0, ones=None):
    codes = patterns(p, ones)
    draw = torch.Generator().manual_seed(seed)
    return Mask(p, codes[torch.randint(len(codes), granularity.shape(ofmap, p), generator=draw)])


def by_hand(x, mask):
    """Maps with the predicted zeros, and how many positions of each image need no convolution."""
    p, out = mask.p, x.clone()
    n, channels, height, width = x.shape
    rows, columns = patch_grid(height, width, p)
    saved = [0] * n
    for i in range(n):
        for c in range(channels):
            for row in range(rows):
                for column in range(columns):
                    c_at, row_at, column_at = (
                        at if size > 1 else 0
                        for at, size in zip((c, row, column), mask.codes.shape, strict=True)
                    )
                    code = int(mask.codes[c_at, row_at, column_at])
                    places = [
                        (row * p + bit // p, column * p + bit % p, code >> bit & 1)
                        for bit in range(p * p)
                    ]
                    inside = [place for place in places if place[0] < height and place[1] < width]
                    if all(x[i, c, y, z] == 0 for y, z, one in inside if one):
                        for y, z, one in inside:
                            if not one:
                                out[i, c, y, z] = 0
                                saved[i] += 1
    return out, saved
