import pytest
import torch
from made_nets import IMAGE, Residual, depthwise, made, plain
from torch import nn
from torchvision.models import resnet18

from labsupport.core.errors import LabError
from labsupport.methods.surgery import channel_groups, group_of, prunable, remove_channels


def by_name(net, shape=IMAGE):
    return {group.name: group for group in channel_groups(net, shape)}


def laid_out(members):
    """Layers by name, with the features of each channel."""
    return {member.layer: member.features.tolist() for member in members}


def one_each(*layers, channels):
    return {layer: [[c] for c in range(channels)] for layer in layers}


def test_a_plain_network_has_a_group_for_each_layer_with_weights():
    groups = by_name(plain())
    assert {name: group.channels for name, group in groups.items()} == {
        "0": 4, "4": 6, "9": 7, "12": 3,
    }  # fmt: skip
    assert laid_out(groups["0"].producers) == one_each("0", channels=4)
    assert laid_out(groups["0"].followers) == one_each("1", channels=4)
    assert laid_out(groups["0"].consumers) == one_each("4", channels=4)
    flat = [list(range(4 * c, 4 * c + 4)) for c in range(6)]
    assert laid_out(groups["4"].followers) == one_each("5", channels=6) | {"8": flat}
    assert laid_out(groups["4"].consumers) == {"9": flat}
    assert [member.positions for member in groups["4"].followers] == [1, 4]
    assert laid_out(groups["9"].consumers) == one_each("12", channels=7)
    assert groups["12"].fixed == "they are the network's output"
    assert len(groups) == 4


def test_channels_that_are_added_are_one_group():
    groups = by_name(Residual())
    blocks = ("blocks.0", "blocks.1")
    group = groups["stem"]
    convolutions = ("stem", *(f"{block}.conv2" for block in blocks))
    assert laid_out(group.producers) == one_each(*convolutions, channels=6)
    assert laid_out(group.followers) == one_each(*(f"{b}.norm2" for b in blocks), channels=6)
    readers = (*(f"{block}.conv1" for block in blocks), "head")
    assert laid_out(group.consumers) == one_each(*readers, channels=6)
    assert [group.name for group in prunable(list(groups.values()))] == [
        "stem", "blocks.0.conv1", "blocks.1.conv1",
    ]  # fmt: skip


def test_resnet18_has_a_group_for_each_stage_and_each_block():
    groups = prunable(channel_groups(resnet18(), (3, 64, 64)))
    assert len(groups) == 4 + 8
    assert sum(len(group.producers) for group in groups) == 20  # all of its convolutions
    stages = [group for group in groups if len(group.producers) > 1]
    assert [(group.channels, len(group.producers)) for group in stages] == [
        (64, 3), (128, 3), (256, 3), (512, 3),
    ]  # fmt: skip


def test_a_depthwise_convolution_follows():
    assert laid_out(by_name(depthwise())["0"].followers) == one_each("1", "2", channels=6)


def test_a_layer_called_twice_joins_what_it_reads_and_makes():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.again = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3)
            self.out = nn.Linear(4, 3)

        def forward(self, x):
            x = self.again(self.again(self.first(x)))
            return self.out(x.mean((2, 3)))

    groups = by_name(Twice())
    assert laid_out(groups["first"].producers) == one_each("first", "again", channels=4)
    assert laid_out(groups["first"].consumers) == one_each("again", "out", channels=4)


def changed(layer):
    return nn.Sequential(nn.Conv2d(1, 4, 1), layer, nn.Flatten(), nn.Linear(256, 3))


@pytest.mark.parametrize(
    "layer", [nn.Sigmoid(), nn.Softmax(1), nn.PReLU(4), nn.GroupNorm(2, 4), nn.PixelShuffle(1)]
)
def test_channels_through_an_unknown_layer_are_fixed_and_say_so(layer):
    groups = channel_groups(changed(layer), IMAGE)
    with pytest.raises(LabError, match=f"channels of 0 .* through 1 .{type(layer).__name__}"):
        group_of("0", groups)


def test_a_grouped_convolution_loses_the_same_in_each_of_its_groups():
    net = nn.Sequential(
        nn.Conv2d(1, 4, 1), nn.Conv2d(4, 8, 1, groups=2), nn.Conv2d(8, 2, 1), nn.Conv2d(2, 1, 1)
    )
    groups = by_name(net)
    assert [group.name for group in prunable(list(groups.values()))] == ["0", "1", "2"]
    assert laid_out(groups["0"].producers) == {"0": [[0, 2], [1, 3]]}
    assert laid_out(groups["0"].consumers) == {"1": [[0, 2], [1, 3]]}
    assert laid_out(groups["1"].producers) == {"1": [[c, c + 4] for c in range(4)]}
    assert laid_out(groups["1"].consumers) == {"2": [[c, c + 4] for c in range(4)]}


def test_filters_of_a_depthwise_convolution_go_with_their_channel():
    net = nn.Sequential(nn.Conv2d(1, 3, 1), nn.Conv2d(3, 6, 1, groups=3), nn.Conv2d(6, 1, 1))
    group = by_name(net)["0"]
    pairs = [[0, 1], [2, 3], [4, 5]]
    assert laid_out(group.followers) == {"1": pairs}
    assert laid_out(group.consumers) == {"2": pairs}


class Joined(nn.Module):
    """Two convolutions of one image side by side, read by a third."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 4, 1), nn.Conv2d(1, 2, 1)
        self.norm, self.out = nn.BatchNorm2d(6), nn.Conv2d(6, 1, 1)

    def forward(self, x):
        return self.out(self.norm(torch.cat([self.a(x), self.b(x)], 1)))


def test_what_is_concatenated_is_a_part_of_what_reads_it():
    groups = by_name(Joined())
    assert laid_out(groups["a"].consumers) == {"out": [[0], [1], [2], [3]]}
    assert laid_out(groups["b"].consumers) == {"out": [[4], [5]]}
    assert laid_out(groups["b"].followers) == {"norm": [[4], [5]]}


def test_a_sum_with_a_broadcast_joins_both():
    class Shifted(nn.Module):
        def __init__(self):
            super().__init__()
            self.maps, self.shift = nn.Conv2d(1, 4, 1), nn.Conv2d(1, 4, 8)
            self.out = nn.Conv2d(4, 1, 1)

        def forward(self, x):
            return self.out(self.maps(x) + self.shift(x))

    assert laid_out(by_name(Shifted())["maps"].producers) == one_each("maps", "shift", channels=4)


def test_channels_that_are_spread_over_all_others_can_only_go_with_them():
    class Spread(nn.Module):
        def __init__(self):
            super().__init__()
            self.maps, self.one, self.out = (
                nn.Conv2d(1, 4, 1), nn.Conv2d(1, 1, 1), nn.Conv2d(4, 1, 1),
            )  # fmt: skip

        def forward(self, x):
            return self.out(self.maps(x) + self.one(x))

    group = by_name(Spread())["maps"]
    assert laid_out(group.producers) == {"maps": [[0, 1, 2, 3]], "one": [[0]]}
    with pytest.raises(LabError, match="no channel of maps would be left"):
        remove_channels(Spread(), IMAGE, {"maps": [0]})


class Halves(nn.Module):
    """Of one layer's channels those of one half are read twice; its halves stay equal."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 6, 1), nn.Conv2d(3, 2, 1)
        self.c = nn.Conv2d(8, 1, 1)

    def forward(self, x):
        first, second = self.a(x).chunk(2, 1)
        return self.c(torch.cat([first, second, self.b(second)], 1))


def test_equal_parts_lose_the_same():
    group = by_name(Halves())["a"]
    assert laid_out(group.producers) == {"a": [[0, 3], [1, 4], [2, 5]]}
    assert laid_out(group.consumers) == {"b": [[0], [1], [2]], "c": [[0, 3], [1, 4], [2, 5]]}


class Grouped(nn.Module):
    """Some filters of `a` are added to those of `b`, the others to nothing."""

    def __init__(self):
        super().__init__()
        self.a, self.pad = nn.Conv2d(1, 3, 1), nn.Conv2d(1, 2, 1)
        self.b, self.c = nn.Conv2d(1, 2, 1), nn.Conv2d(5, 1, 1)
        self.d = nn.Conv2d(5, 1, 1)

    def forward(self, x):
        one, other = self.a(x), self.pad(x)
        twice = torch.cat([self.b(x), one], 1) + torch.cat([one, other], 1)
        return self.c(twice) + self.d(torch.cat([one, other], 1))


def test_channels_that_belong_together_across_offsets_are_found():
    # b0 a0 a1 a2 . added to a0 a1 a2 p0 p1: b0~a0, b1~a1, a0~a2, a1~p0, a2~p1
    groups = by_name(Grouped())
    assert laid_out(groups["a"].producers)["a"] == [[0, 2]]
    assert laid_out(groups["a#2"].producers)["a"] == [[1]]
    with pytest.raises(LabError, match=r"channels of pad belong to several .* a, a#2"):
        group_of("pad", list(groups.values()))


def test_a_layer_without_channels_of_its_own_is_refused():
    groups = channel_groups(plain(), IMAGE)
    with pytest.raises(LabError, match=r"'2' has no filters .* choose from 0, 4, 9"):
        group_of("2", groups)
    with pytest.raises(LabError, match=r"channels of 12 cannot be removed: .*output"):
        group_of("12", groups)


def test_a_network_that_cannot_be_traced_says_why():
    class Deciding(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(LabError, match=r"Deciding cannot be traced: .*control flow"):
        channel_groups(Deciding(), IMAGE)


def test_an_input_that_does_not_fit_is_refused_without_a_word_more(capfd):
    for shape, where in (((3, 8, 8), "at 0"), ((1, 12, 12), "at 8"), ((64,), "at 0")):
        with pytest.raises(LabError, match=f"does not take an input of .* {where}:"):
            channel_groups(plain(), shape)
    assert capfd.readouterr() == ("", "")


def test_looking_changes_nothing():
    net, shape = made("resnet10")
    net.train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    channel_groups(net, shape)
    assert all(module.training for module in net.modules())
    assert all(torch.equal(before[name], now) for name, now in net.state_dict().items())
