"""Networks that invite a wrong guess: what can be pruned is pruned rightly, the rest is fixed."""

import pytest
import torch
from made_nets import images
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from labsupport.core.errors import LabError
from labsupport.methods.pruning import magnitude
from labsupport.methods.surgery import (
    channel_groups,
    gated,
    group_of,
    mask_channels,
    prunable,
    remove_channels,
)

SHAPE = (1, 8, 8)


class Odd(nn.Module):
    """Maps `a` and `b` (6 each), flat features `h` (8), output `o`; `run` puts them together."""

    def __init__(self, run, flat=6):
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.h, self.o = nn.Linear(flat, 8), nn.Linear(8, 3)
        self.norm = nn.BatchNorm2d(6)
        self.plain_norm = nn.BatchNorm2d(6, affine=False)
        self.gru = nn.GRU(8, 8, batch_first=True)
        self.register_buffer("mean", torch.tensor(0.5))
        self.run = run

    def forward(self, x):
        return self.run(self, x)


def pooled(x):
    return x.mean((2, 3))


def gated_halves(x):
    halves = x.chunk(2, 1)
    return torch.cat([halves[0] * halves[1], halves[0]], 1)


def swapped(s, x):
    first = s.a(x)
    return s.o(s.h(pooled(torch.cat([first[:, :3], s.b(first)[:, 3:]], 1))))


def shuffled(s, x):
    n, c, h, w = s.a(x).shape
    x = s.a(x).view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, -1, h, w)
    return s.o(s.h(pooled(s.b(x))))


def excited(s, x):
    first = s.a(x)
    return s.o(s.h(pooled(first * s.b(first.mean((2, 3), keepdim=True)).sigmoid())))


def by_hand_normalized(s, x):
    first = s.a(x)
    return s.o(s.h(pooled(first - first.mean(1, keepdim=True))))


def tied(s, x):
    return F.linear(F.linear(s.h(pooled(s.a(x))), s.h.weight.t()).relu(), s.h.weight)


ODD = {
    "tuple of a call": lambda s, x: s.o(s.h(pooled(s.a(x)))) + s.a(x).max(1)[0].flatten(1)[:, :3],
    "gated halves": lambda s, x: s.o(s.h(gated_halves(s.a(x)).mean((2, 3)))),
    "recurrent": lambda s, x: s.o(s.gru(s.h(s.a(x).flatten(2).mT))[0].mean(1)),
    "tied": tied,
    "shared norm": lambda s, x: s.o(s.h(pooled(s.norm(s.b(s.norm(s.a(x)).relu()))))),
    "no scale": lambda s, x: s.o(s.h(pooled(s.plain_norm(s.a(x)).relu()))),
    "pooled over channels": lambda s, x: s.o(F.avg_pool1d(s.h(pooled(s.a(x))), 3, 1, 1)),
    "mean over channels": lambda s, x: s.o(s.h(pooled(s.a(x)) * s.b(s.a(x)).mean(1).mean())),
    "buffer called mean": lambda s, x: s.o(s.h(pooled(s.a(x - s.mean)))),
    "weight in the code": lambda s, x: s.o(s.h(pooled(s.a(x)))) / s.h.weight.norm(dim=1).mean(),
    "product": lambda s, x: s.o(s.h(pooled(s.b(s.a(x)) * s.a(x).sigmoid()))),
    "swapped": swapped,
    "shuffled": shuffled,
    "shuffled by a written width": lambda s, x: s.o(
        s.h(pooled(s.b(s.a(x).view(-1, 2, 3, 8, 8).transpose(1, 2).flatten(1, 2))))
    ),
    "excited": excited,
    "shifted": lambda s, x: s.o(s.h(pooled(s.b(s.a(x) + 1)))),
    "scaled": lambda s, x: s.o(s.h(pooled(s.b(s.a(x) * 3)))),
    "scaled by width": lambda s, x: s.o(s.h(pooled(s.b(s.a(x) * s.a(x).size(1))))),
    "unequal parts": lambda s, x: s.o(s.h(pooled(torch.cat(s.a(x).split([2, 4], 1)[::-1], 1)))),
    "positions": lambda s, x: s.o(s.h(pooled(s.b(s.a(x)[:, :, ::2, 1:])))),
    "one channel taken": lambda s, x: s.o(s.h(pooled(s.b(s.a(x))) + s.a(x)[:, 0, 0, :6])),
    "rows side by side": lambda s, x: s.o(s.h(pooled(torch.cat([s.a(x), s.b(s.a(x))], 2)))),
    "channels last": lambda s, x: s.o(s.h(s.a(x).permute(0, 2, 3, 1)).relu()).mean((1, 2)),
    "normalized by hand": by_hand_normalized,
    "stacked": lambda s, x: s.o(s.h(pooled(torch.stack([s.a(x), s.b(s.a(x))]).sum(0)))),
    "named arguments": lambda s, x: s.o(input=s.h(input=pooled(s.b(input=s.a(x))))),
    "alpha": lambda s, x: s.o(s.h(pooled(torch.add(s.a(x), s.b(s.a(x)), alpha=2)))),
    "in place": lambda s, x: s.o(s.h(pooled(F.relu(s.a(x), inplace=True).add_(s.b(s.a(x)))))),
}  # fmt: skip


def made(name, flat=6):
    torch.manual_seed(0)
    net = Odd(ODD[name], flat)
    for norm in (net.norm, net.plain_norm):
        nn.init.normal_(norm.running_mean)
    return net.double().eval()


@pytest.mark.parametrize("name", ODD)
def test_what_can_be_removed_is_removed_rightly(name):
    net, x = made(name), images(SHAPE)
    for group in prunable(channel_groups(net, SHAPE)):
        smaller = remove_channels(net, SHAPE, {group.name: [0, 2]})
        masked = mask_channels(net, SHAPE, {group.name: [0, 2]})
        torch.testing.assert_close(smaller(x), masked(x), rtol=1e-9, atol=1e-9)
        gate = torch.ones(group.channels).double()
        gate[[0, 2]] = 0
        with gated(net, group, gate):
            torch.testing.assert_close(net(x), masked(x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("tuple of a call", "h"), ("gated halves", "ah"), ("recurrent", "a"), ("tied", ""),
        ("shared norm", "abh"), ("no scale", "ah"), ("pooled over channels", "a"),
        ("mean over channels", "h"), ("buffer called mean", "ah"), ("weight in the code", ""),
        ("product", "abh"), ("named arguments", "abh"), ("alpha", "abh"), ("swapped", "h"),
        ("shuffled", "abh"), ("shuffled by a written width", "bh"), ("excited", "abh"),
        ("shifted", "bh"), ("scaled", "abh"), ("scaled by width", "bh"), ("unequal parts", "h"),
        ("positions", "abh"), ("one channel taken", "h"), ("rows side by side", "abh"),
        ("channels last", "ah"), ("normalized by hand", "h"), ("stacked", "h"),
    ],
)  # fmt: skip
def test_just_what_can_be_removed_is_offered(name, layers):
    groups = prunable(channel_groups(made(name), SHAPE))
    offered = {made.layer for group in groups for made in group.producers}
    assert "".join(sorted(offered)) == layers


def test_a_fixed_group_cannot_be_gated():
    net = made("swapped")
    group = next(g for g in channel_groups(net, SHAPE) if g.name == "b")
    with pytest.raises(LabError, match="channels of b cannot be removed"), gated(
        net, group, torch.ones(6)
    ):  # fmt: skip
        pass


@pytest.mark.parametrize("size", [384, 6 * 64])
def test_a_size_in_the_code_fixes_the_channels(size):
    net = Odd(lambda s, x: s.o(s.h(s.a(x).view(-1, size))), flat=384)
    with pytest.raises(LabError, match="the code of a reshape holds their number"):
        group_of("a", channel_groups(net, SHAPE))


def test_pooling_maps_of_another_dimension_fixes_the_channels():
    net = nn.Sequential(
        nn.Flatten(2), nn.Conv1d(1, 8, 3, padding=1), nn.MaxPool2d(3, 1, 1),
        nn.Flatten(), nn.Linear(512, 3),
    )  # fmt: skip
    with pytest.raises(LabError, match=r"go through 2 \(MaxPool2d\)"):
        group_of("1", channel_groups(net, SHAPE))
    net[2] = nn.MaxPool1d(3, 1, 1)
    assert group_of("1", channel_groups(net, SHAPE)).channels == 8


def test_channels_that_nothing_reads_are_fixed():
    net = Odd(lambda s, x: (s.b(s.a(x)), s.o(s.h(pooled(s.a(x)))))[1])
    with pytest.raises(LabError, match="no layer reads them"):
        group_of("b", channel_groups(net, SHAPE))


def test_what_maps_and_flat_features_are_read_by_joins_all():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.maps, self.flat = nn.Conv2d(1, 1, 1), nn.Linear(64, 64)
            self.out = nn.Linear(64, 3)

        def forward(self, x):
            return self.out(self.maps(x).flatten(1)) + self.out(self.flat(x.flatten(1)))

    (group,) = prunable(channel_groups(Both(), SHAPE))
    assert group.channels == 1


def test_masks_have_to_go_first():
    net = magnitude(nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Linear(8, 3)), 0.5)
    assert parametrize.is_parametrized(net[1])
    with pytest.raises(LabError, match=r"1 computes its weights from others; .*without_masks"):
        channel_groups(net, SHAPE)


@pytest.mark.parametrize("channels", [[True, False], [1.5], ["0"], 1])
def test_what_is_no_channel_number_is_refused(channels):
    with pytest.raises(LabError, match="are no channels of a"):
        remove_channels(made("no scale"), SHAPE, {"a": channels})
