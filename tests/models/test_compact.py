import pytest
import torch
from torch import nn

from labsupport.core.errors import LabError
from labsupport.models import build
from labsupport.models.blocks import BLOCKS, CReLU, Fire, ResidualBlock, darknet, separable
from labsupport.network.cost import cost, parameter_count

MNIST, CIFAR = (1, 28, 28), (3, 32, 32)


def weights(module):
    """Parameters without those of the norms."""
    return sum(p.numel() for p in module.parameters() if p.dim() > 1)


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize(("channels", "filters"), [(3, 8), (16, 16), (5, 9), (1, 2)])
def test_a_block_gives_so_many_maps_of_the_same_size(name, channels, filters):
    block = BLOCKS[name](channels, filters)
    assert block(torch.randn(2, channels, 7, 5)).shape == (2, filters, 7, 5)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("plain", 16 * 64 * 9),
        ("fire", 16 * 8 + 8 * 32 + 8 * 32 * 9),
        ("crelu", 16 * 32 * 9),
        ("separable", 16 * 9 + 16 * 64),
        ("darknet", 16 * 8 + 8 * 64 * 9),
        ("residual", 16 * 64 * 9 + 64 * 64 * 9 + 16 * 64),
    ],
)
def test_weights_and_macs_follow_the_closed_form(name, expected):
    block = BLOCKS[name](16, 64).eval()
    assert weights(block) == expected
    assert cost(block, (16, 6, 6)).fp_macs == expected * 36


def test_separable_takes_the_share_of_howards_equation():
    one, other = (
        cost(BLOCKS[name](32, 48).eval(), (32, 8, 8)).fp_macs for name in ("separable", "plain")
    )
    assert one / other == pytest.approx(1 / 48 + 1 / 9)


def test_crelu_gives_each_filters_answer_and_its_negative():
    block = CReLU(2, 6).eval()
    x = torch.randn(3, 2, 5, 5)
    answers = block.convolution(x) / (1 + block.norm.eps) ** 0.5
    torch.testing.assert_close(block(x), torch.cat([answers.relu(), (-answers).relu()], 1))
    torch.testing.assert_close(block(x)[:, :3] - block(x)[:, 3:], answers)


def test_fire_joins_small_and_large_filters_of_the_same_squeezed_maps():
    block = Fire(4, 16).eval()
    x = torch.randn(2, 4, 6, 6)
    squeezed = block.squeeze(x)
    assert squeezed.shape[1] == 2
    assert torch.equal(block(x)[:, :8], block.small(squeezed))
    assert torch.equal(block(x)[:, 8:], block.large(squeezed))


def test_separable_mixes_no_maps_before_its_small_filters():
    block, x = separable(3, 4).eval(), torch.randn(1, 3, 6, 6)
    changed = x.clone()
    changed[:, 1] += 1
    same = (block[:3](changed) == block[:3](x)).flatten(2).all(2)
    assert same.tolist() == [[True, False, True]]


def test_darknet_lets_a_tenth_of_negative_values_through():
    slopes = [m.negative_slope for m in darknet(8, 16).modules() if isinstance(m, nn.LeakyReLU)]
    assert slopes == [0.1, 0.1]


def test_a_residual_block_with_zero_weights_passes_its_input_on():
    block, x = ResidualBlock(4, 4).eval(), torch.rand(2, 4, 5, 5)
    nn.init.zeros_(block.body[3].weight)
    assert torch.equal(block(x), x)


@pytest.mark.parametrize("block", BLOCKS)
def test_a_layout_says_widths_and_where_maps_are_halved(block):
    model = build("compact", CIFAR, 7, block=block, layout="4 6|8 | 10")
    x, shapes = torch.zeros(1, *CIFAR), []
    for layer in model:
        x = layer(x)
        shapes.append(tuple(x.shape[1:]))
    maps = [(4, 32, 32), (6, 32, 32), (6, 16, 16), (8, 16, 16), (8, 8, 8), (10, 8, 8)]
    assert shapes == [*maps, (10, 1, 1), (10,), (7,)]


def test_the_designs_keep_their_budgets():
    alexnet, cifar = (build(name, CIFAR).eval() for name in ("alexnet", "compact_cifar"))
    assert parameter_count(build("compact_mnist", MNIST)) <= 10_000
    assert parameter_count(alexnet) >= 20 * parameter_count(cifar)
    assert cost(alexnet, CIFAR).fp_macs >= 3 * cost(cifar, CIFAR).fp_macs


@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        ({"block": "ice"}, "choose one of plain, fire"),
        ({"block": "fire", "layout": "8 | 1"}, "a Fire module of 1 map"),
        ({"layout": ""}, "no layout"),
        ({"layout": "8 | | 8"}, "no layout"),
        ({"layout": "8 0"}, "no layout"),
        ({"layout": "8 x"}, "no layout"),
        ({"layout": "-8"}, "no layout"),
        ({"layout": "8|8|8|8|8|8"}, "cannot be halved 5 times"),
    ],
)
def test_what_cannot_be_built_is_explained(knobs, said):
    with pytest.raises(LabError, match=said):
        build("compact", MNIST, **knobs)


@pytest.mark.parametrize("width", [16, 64])
def test_airbench_has_its_sources_layers(width):
    model = build("airbench", CIFAR, width=width)
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert [m.out_channels for m in convolutions] == [24, width, width, *[4 * width] * 4]
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(m.momentum == 0.4 and not m.weight.requires_grad for m in norms)
    assert all(m.bias.requires_grad for m in norms)
    assert sum(isinstance(m, nn.MaxPool2d) for m in model.modules()) == 3
    assert model.eval()(torch.zeros(2, *CIFAR)).shape == (2, 10)
    if width == 64:  # 1.97 M parameters, as the source says
        assert parameter_count(model) == pytest.approx(1.97e6, rel=5e-3)


def test_airbench_begins_as_identities_and_ends_in_a_ninth():
    model = build("airbench", CIFAR, width=16)
    _, *convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    for convolution in convolutions:
        x = torch.randn(1, convolution.in_channels, 5, 5)
        passed = min(convolution.in_channels, convolution.out_channels)
        torch.testing.assert_close(convolution(x)[:, :passed], x[:, :passed])
    x = torch.randn(2, *CIFAR)
    torch.testing.assert_close(model.eval()(x), model[:-1](x) / 9)


def test_an_airbench_without_filters_is_refused():
    with pytest.raises(LabError, match="airbench of width 0"):
        build("airbench", CIFAR, width=0)


def test_the_smallest_images_of_airbench_pass():
    assert build("airbench", (3, 9, 9), width=4).eval()(torch.zeros(1, 3, 9, 9)).shape == (1, 10)
