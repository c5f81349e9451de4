import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision import models

from labsupport.core.errors import LabError
from labsupport.methods.spatial import sites, spatialize
from labsupport.network.tracing import trace

# Network, side of its images, spatial layers as the source counts them, and coupled ones.
PUBLISHED = {
    "alexnet": (models.alexnet, 64, 5, 0),
    "vgg16": (models.vgg16, 32, 13, 0),
    "vgg16_bn": (models.vgg16_bn, 32, 13, 0),
    "resnet18": (models.resnet18, 32, 17, 3),
    "resnet34": (models.resnet34, 32, 33, 3),
    "squeezenet1_1": (models.squeezenet1_1, 32, 26, 0),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_networks_have_a_layer_for_each_convolution_before_a_relu(name):
    make, side, layers, coupled = PUBLISHED[name]
    with torch.device("meta"):
        net = make(num_classes=3).eval()
    network = spatialize(net, (3, side, side))
    names = [layer.names for layer in network.layers.values()]
    assert len(names) == layers
    assert sum(len(several) == 2 for several in names) == coupled


class Odd(nn.Module):
    """Convolutions before every kind of thing."""

    def __init__(self):
        super().__init__()
        for name in ("good", "pooled", "shared", "read", "added", "last"):
            setattr(self, name, nn.Conv2d(2, 2, 3, padding=1))
        self.small, self.large = nn.Conv2d(2, 2, 5), nn.Conv2d(2, 2, 1)
        self.unused, self.norm = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)

    def forward(self, x):
        x = self.norm(self.good(x)).relu()
        x = F.relu(F.max_pool2d(self.pooled(x), 1))
        x = F.relu(self.shared(F.relu(self.shared(x))))
        read = self.read(x)
        x = F.relu(read) + read.sigmoid()
        total = self.added(x) + x
        x = F.relu(total) + total
        x = torch.relu(self.small(x) + self.large(x))
        return self.last(x).sigmoid().mean((2, 3))


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("pooled", "it is followed by max_pool2d, not by a ReLU"),
        ("shared", "shared is called 2 times"),
        ("read", "what read gives is read by relu, sigmoid"),
        ("added", "the sum that it is added to is read by relu, add"),
        ("small", "add spreads it over a larger map"),
        ("last", "it is followed by sigmoid, not by a ReLU"),
    ],
)
def test_a_convolution_without_a_relu_of_its_own_is_refused_by_name(name, why):
    with pytest.raises(LabError, match=f"no zeros of {name} can be predicted: {why}"):
        spatialize(Odd(), (2, 5, 5), convolutions=["good", name])


def test_the_others_are_found_all_the_same():
    graph = trace(Odd(), (2, 5, 5))
    assert [site.convolutions for site in sites(graph)] == [("good",), ("large",)]
    assert {site.ofmap for site in sites(graph)} == {(2, 5, 5)}


def test_a_convolution_that_is_not_there_is_refused_with_those_that_are():
    for name in ("conv", "unused", "norm"):
        with pytest.raises(LabError, match=f"no convolution '{name}'; choose from good, pooled"):
            spatialize(Odd(), (2, 5, 5), convolutions=[name])


@pytest.mark.parametrize(
    "net", [nn.Sequential(nn.Flatten(), nn.Linear(50, 3), nn.ReLU()), nn.Conv2d(2, 3, 3)]
)
def test_a_network_without_any_is_refused(net):
    with pytest.raises(LabError, match="no convolution whose map goes to a ReLU"):
        spatialize(net, (2, 5, 5))


def test_a_module_named_like_an_addition_is_none():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.add = nn.Conv2d(2, 2, 3, padding=1), nn.AvgPool2d(3, 1, 1)

        def forward(self, x):
            return F.relu(self.add(self.conv(x))).mean((2, 3))

    with pytest.raises(LabError, match="goes to a ReLU alone"):
        sites(trace(Named().eval(), (2, 8, 8)))


def test_an_empty_choice_of_convolutions_is_an_error():
    with pytest.raises(LabError, match="no convolution is chosen"):
        spatialize(nn.Sequential(nn.Conv2d(2, 2, 3), nn.ReLU()), (2, 9, 9), convolutions=[])
