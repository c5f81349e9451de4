import pytest
import torch
from torch import nn

from labsupport.core.randomness import seeded
from labsupport.methods.pruning import magnitude
from labsupport.methods.quantization import fold_batch_norm
from labsupport.methods.sharing.entropy import with_steps
from labsupport.network.fingerprint import fingerprint

IMAGES = torch.randn(6, 2, 8, 8, generator=torch.Generator().manual_seed(0))


def lived(network):
    """With statistics, scales and shifts that are not the first ones."""
    chance = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            for tensor in [*module.parameters(), *module.buffers()]:
                if tensor.is_floating_point():
                    tensor.data = torch.rand(tensor.shape, generator=chance) + 0.5
    return network.eval()


def chain(**norm):
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, groups=2, bias=False), nn.BatchNorm2d(4, **norm), nn.ReLU(),
        nn.Conv2d(4, 3, 3), nn.BatchNorm2d(3, **norm), nn.Flatten(),
        nn.Linear(48, 5), nn.BatchNorm1d(5, **norm), nn.ReLU(), nn.Linear(5, 2),
    )  # fmt: skip


class Doubled(nn.Module):
    """What its convolution gives is read twice; the second norm stands behind a sum."""

    def __init__(self):
        super().__init__()
        self.conv, self.first, self.second = nn.Conv2d(2, 3, 3), *map(nn.BatchNorm2d, (3, 3))

    def forward(self, x):
        x = self.conv(x)
        return self.second(x + self.first(x)).mean((2, 3))


class Sequence(nn.Module):
    """A norm over positions, as many as the linear layer has outputs."""

    def __init__(self):
        super().__init__()
        self.linear, self.norm = nn.Linear(8, 8), nn.BatchNorm1d(8)

    def forward(self, x):
        return self.norm(self.linear(x[:, 0])).flatten(1)


def norms(network):
    return [m for m in network.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]


@pytest.mark.parametrize("norm", [{}, {"affine": False}])
def test_a_folded_network_answers_alike(norm):
    with seeded(0):
        network = lived(chain(**norm))
    before = fingerprint(network)
    folded = fold_batch_norm(network, (2, 8, 8))
    assert fingerprint(network) == before
    torch.testing.assert_close(folded(IMAGES), network(IMAGES), rtol=1e-4, atol=1e-5)
    assert not norms(folded)
    assert all(parameter.requires_grad for parameter in folded.parameters())


@pytest.mark.parametrize(
    "make",
    [Doubled, Sequence, lambda: chain(track_running_stats=False)],
    ids=["doubled", "sequence", "without statistics"],
)
def test_what_does_not_follow_a_layer_of_its_own_stays(make):
    with seeded(0):
        network = lived(make())
    folded = fold_batch_norm(network, (2, 8, 8))
    assert len(norms(folded)) == len(norms(network))
    assert torch.equal(folded(IMAGES), network(IMAGES))


def test_computed_weights_become_plain_where_a_norm_is_folded():
    with seeded(0):
        network = magnitude(lived(chain()), 0.5)
    folded = fold_batch_norm(network, (2, 8, 8)).eval()
    torch.testing.assert_close(folded(IMAGES), network(IMAGES), rtol=1e-4, atol=1e-5)
    assert torch.equal(folded[0].weight == 0, network[0].weight == 0)
    assert not hasattr(folded[0], "parametrizations")
    assert hasattr(folded[9], "parametrizations")


def test_a_computed_bias_becomes_plain_where_a_norm_is_folded():
    network = lived(nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten())).eval()
    stepped = with_steps(network, 8)
    x = torch.rand(2, 1, 5, 5)
    torch.testing.assert_close(fold_batch_norm(stepped, (1, 5, 5))(x), stepped(x))
