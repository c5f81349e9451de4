"""Networks of every kind that the course makes, small, each with an input that it takes."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from torchvision.models import resnet18

from labsupport.methods.early_exit import BranchedNetwork, Calibration, Rules, attach_branches
from labsupport.methods.early_exit.rules import Origin
from labsupport.methods.pruning import magnitude, with_sparse_linears
from labsupport.methods.sharing import share
from labsupport.methods.surgery import channel_groups, prunable, remove_channels
from labsupport.models import build
from labsupport.network.fingerprint import fingerprint
from labsupport.network.tracing import trace
from labsupport.runtimes.onnx import OnnxNetwork, export_onnx

IMAGES = (1, 6, 6)
DTYPES = (
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
)


def small():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)
    )
    nn.init.normal_(net[1].running_mean)
    return net.eval()


@dataclass(frozen=True)
class Setting:
    scales: tuple[float, ...]
    dtype: torch.dtype = torch.float32


class Scaled(nn.Module):
    """Attributes of all sorts, and a function and a tensor among them."""

    def __init__(self, body):
        super().__init__()
        self.body = body
        self.setting = Setting((0.5, float("inf")))
        self.function, self.rounded = F.relu, partial(torch.round, decimals=2)
        self.names = {"path": Path("a/b"), 3: [None, True, "x"], "$": {1, 2}}
        self.plain = torch.arange(3.0)

    def forward(self, x):
        y = self.function(self.body(x)) * self.setting.scales[0] + self.plain
        return self.rounded(y.to(self.setting.dtype))


class Odd(nn.Module):
    """Tensors of every type, of no values and of no dimension, kept and not kept in the state."""

    def __init__(self):
        super().__init__()
        for dtype in DTYPES:
            name = str(dtype).replace(".", "_")
            self.register_buffer(name, torch.arange(4).view(2, 2).to(dtype))
        self.register_buffer("none", None)
        self.register_buffer("empty", torch.empty(0, 3))
        self.register_buffer("scalar", torch.tensor(2.0), persistent=False)
        self.weight = nn.Parameter(torch.ones(3))
        self.frozen = nn.Parameter(torch.tensor([1, 2, 3]), requires_grad=False)

    def forward(self, x):
        total = sum(buffer.double().sum() for buffer in self.buffers())
        return x[..., :3] * self.weight * self.frozen + total * self.scalar


class Tied(nn.Module):
    """One layer called twice, and two that share a weight."""

    def __init__(self):
        super().__init__()
        self.first = self.again = nn.Linear(6, 6)
        self.other = nn.Linear(6, 6)
        self.other.weight = self.first.weight

    def forward(self, x):
        return self.other(self.again(self.first(x)))


class Residual(nn.Module):
    """Adds, reads shapes, slices and concatenates, all of which a traced graph holds."""

    def __init__(self):
        super().__init__()
        self.norms = nn.ModuleDict({"0": nn.BatchNorm2d(1)})
        self.scale = nn.Parameter(torch.ones(1))
        self.head = nn.Linear(36, 3)

    def forward(self, x):
        x = F.relu(x + self.norms["0"](x)) * self.scale
        x = torch.cat([x[..., :3], x[:, :, :, 3:]], dim=-1)
        x = F.max_pool2d(x, kernel_size=1).contiguous()
        return self.head(x.view(x.shape[0], -1)).to(torch.float32)


def pruned():
    return remove_channels(small(), IMAGES, {"0": [1, 3]})


def pruned_resnet():
    """ResNet-18 with few channels left in each group."""
    torch.manual_seed(0)
    net = resnet18(num_classes=3).eval()
    groups = prunable(channel_groups(net, (3, 32, 32)))
    return remove_channels(net, (3, 32, 32), {g.name: range(5, g.channels) for g in groups})


def rules_of(net, layer, features):
    torch.manual_seed(1)
    origin = Origin(layer, features, fingerprint(net))
    rules = Rules(torch.randn(3, torch.Size(features).numel()), torch.randn(3), origin)
    margins = torch.tensor([0.7, 0.9, float("inf")], dtype=torch.float64)
    return rules.with_margins(margins, Calibration(0.99, 50, 1))


def branched():
    return BranchedNetwork(small(), 3, rules_of(small(), 3, (4, 4, 4)), chunk=2)


def branchy():
    branch = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    return attach_branches(small(), {3: branch}).with_thresholds([0.9]).eval()


def orthogonal():
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, 4), nn.Linear(4, 4))
    parametrizations.orthogonal(net[1])
    parametrizations.weight_norm(net[2])
    return net


def channels_last():
    net = small().to(memory_format=torch.channels_last)
    net[4].weight = nn.Parameter(net[4].weight.detach().T.contiguous().T)
    return net


def frozen():
    net = small()
    net[0].weight.requires_grad_(False)
    return net


def lstm():
    return nn.LSTM(6, 4, batch_first=True)


def onnx(folder):
    return OnnxNetwork(export_onnx(small(), IMAGES, folder / "net.onnx"))


def networks(folder):
    """Networks by name, in eval mode."""
    torch.manual_seed(0)
    made = {
        "plain": small(),
        "residual": build("mlp", IMAGES, 3, depth=3, width=8, norm="layer", residual=True),
        "attributes": Scaled(small()),
        "pruned": pruned(),
        "pruned ResNet": pruned_resnet(),
        "masked": magnitude(small(), 0.6),
        "sparse": with_sparse_linears(magnitude(small(), 0.6)),
        "shared": share(magnitude(small(), 0.6), 2),
        "rules": rules_of(small(), 3, (1, 6, 6)),
        "branched": branched(),
        "branchy": branchy(),
        "traced": trace(Residual().eval(), IMAGES),
        "traced ResNet": trace(pruned_resnet(), (3, 32, 32)),
        "tied": Tied(),
        "odd": Odd(),
        "half": small().bfloat16(),
        "frozen": frozen(),
        "channels last": channels_last(),
        "orthogonal": orthogonal(),
        "attention": nn.TransformerEncoderLayer(6, 2, 8, batch_first=True),
        "onnx": onnx(folder),
    }
    return {name: net.eval() for name, net in made.items()}


def images(name, n=5):
    """Images that the network of a name takes, always the same."""
    draw = torch.Generator().manual_seed(3)
    if "ResNet" in name:
        return torch.randn(n, 3, 32, 32, generator=draw)
    x = torch.randn(n, *IMAGES, generator=draw)
    if name == "attention":
        return x.flatten(1, 2)
    return x.bfloat16() if name == "half" else x
