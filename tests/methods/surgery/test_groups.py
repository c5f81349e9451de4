import pytest
import torch
from made_nets import IMAGE, Residual, depthwise, made, plain
from torch import nn
from torchvision.models import resnet18

from labsupport.core.errors import LabError
from labsupport.methods.surgery import Group, Member, channel_groups, group_of, prunable


def by_name(net, shape=IMAGE):
    return {group.name: group for group in channel_groups(net, shape)}


def test_a_plain_network_has_a_group_for_each_layer_with_weights():
    groups = by_name(plain())
    assert groups["0"] == Group(4, ("0",), (Member("1"),), (Member("4"),))
    assert groups["4"] == Group(6, ("4",), (Member("5"), Member("8", 4)), (Member("9", 4),))
    assert groups["9"] == Group(7, ("9",), (), (Member("12"),))
    assert groups["12"].fixed == "they are the network's output"
    assert len(groups) == 4


def test_channels_that_are_added_are_one_group():
    groups = by_name(Residual())
    blocks = ("blocks.0", "blocks.1")
    assert groups["stem"] == Group(
        channels=6,
        producers=("stem", *(f"{block}.conv2" for block in blocks)),
        followers=tuple(Member(f"{block}.norm2") for block in blocks),
        consumers=(*(Member(f"{block}.conv1") for block in blocks), Member("head")),
    )
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
    assert by_name(depthwise())["0"].followers == (Member("1"), Member("2"))


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
    assert groups["first"].producers == ("first", "again")
    assert groups["first"].consumers == (Member("again"), Member("out"))


def changed(layer):
    return nn.Sequential(nn.Conv2d(1, 4, 1), layer, nn.Flatten(), nn.Linear(256, 3))


@pytest.mark.parametrize(
    "layer", [nn.Sigmoid(), nn.Softmax(1), nn.PReLU(4), nn.GroupNorm(2, 4), nn.PixelShuffle(1)]
)
def test_channels_through_an_unknown_layer_are_fixed_and_say_so(layer):
    groups = channel_groups(changed(layer), IMAGE)
    with pytest.raises(LabError, match=f"channels of 0 .* through 1 .{type(layer).__name__}"):
        group_of("0", groups)


def test_a_grouped_convolution_fixes_both_sides():
    net = nn.Sequential(
        nn.Conv2d(1, 4, 1), nn.Conv2d(4, 8, 1, groups=2), nn.Conv2d(8, 2, 1), nn.Conv2d(2, 1, 1)
    )
    assert [group.name for group in prunable(channel_groups(net, IMAGE))] == ["2"]


def test_a_sum_with_a_broadcast_fixes_both():
    class Shifted(nn.Module):
        def __init__(self):
            super().__init__()
            self.maps, self.shift = nn.Conv2d(1, 4, 1), nn.Conv2d(1, 4, 8)
            self.out = nn.Conv2d(4, 1, 1)

        def forward(self, x):
            return self.out(self.maps(x) + self.shift(x))

    assert prunable(channel_groups(Shifted(), IMAGE)) == []


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
    net, shape = made("resnet18")
    net.train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    channel_groups(net, shape)
    assert all(module.training for module in net.modules())
    assert all(torch.equal(before[name], now) for name, now in net.state_dict().items())
