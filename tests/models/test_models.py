import pytest
import torch
from torch import nn

from labsupport.core.errors import LabError
from labsupport.models import NAMES, ModelSpec, build

MNIST = (1, 28, 28)
KNOWN = {
    "mlp": 1_863_690,
    "lenet_300_100": 266_610,
    "lenet5": 431_080,
    "tensornet": 12_518,
    "rules_cnn": 1_199_882,
    "pruning_cnn": 25_706_186,
    "pooled_cnn": 24_058,
    "alexnet": 1_159_082,
    "resnet18": 11_175_370,
    "compact": 77_754,
    "compact_mnist": 9_698,
    "compact_cifar": 77_754,
    "airbench": 493_224,
}


def parameters(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_published_parameter_counts(name):
    assert parameters(build(name, MNIST)) == KNOWN[name]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 16, 20), (3, 17, 17)])
def test_every_input_shape_gives_a_row_of_logits(name, shape):
    assert build(name, shape, classes=7)(torch.zeros(2, *shape)).shape == (2, 7)


@pytest.mark.parametrize("depth", [1, 2, 4, 16])
def test_mlp_parameters_follow_the_closed_form(depth):
    width, inputs, classes = 32, 784, 10
    expected = inputs * width + width + (depth - 1) * (width**2 + width) + width * classes + classes
    assert parameters(build("mlp", MNIST, depth=depth, width=width)) == expected


def test_the_source_counts_three_hidden_layers_as_two():
    assert parameters(build("mlp", MNIST, depth=3)) == 2_913_290


def test_norm_adds_two_numbers_a_unit_and_residual_adds_none():
    plain = parameters(build("mlp", MNIST, depth=3, width=32))
    for norm in ("batch", "layer"):
        assert parameters(build("mlp", MNIST, depth=3, width=32, norm=norm)) == plain + 3 * 64
    assert parameters(build("mlp", MNIST, depth=3, width=32, residual=True)) == plain


def test_residual_layers_with_zero_weights_pass_their_input_on():
    deep = build("mlp", MNIST, depth=4, width=16, residual=True)
    shallow = build("mlp", MNIST, depth=1, width=16)
    shallow[1].load_state_dict(deep[1].state_dict())
    shallow[-1].load_state_dict(deep[-1].state_dict())
    for block in deep[3:-1]:
        nn.init.zeros_(block.body[0].weight)
        nn.init.zeros_(block.body[0].bias)
    x = torch.randn(5, *MNIST)
    assert torch.equal(deep(x), shallow(x))


def test_kaiming_keeps_the_signal_through_sixteen_layers_and_torch_does_not():
    torch.manual_seed(0)
    x = torch.randn(64, *MNIST)
    spread = {}
    for init in ("kaiming", "torch"):
        model = build("mlp", MNIST, depth=16, width=512, init=init)
        spread[init] = model[:-1](x).std(0).mean().item()  # how much the input still matters
    assert 0.2 < spread["kaiming"] < 5
    assert spread["torch"] < 0.01


def test_a_spec_builds_the_same_network_from_the_same_random_state():
    spec = ModelSpec("mlp", MNIST, 10, {"width": 8})
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        states.append(spec.build().state_dict())
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: build("mpl", MNIST), "mlp, lenet_300_100"),
        (lambda: build("lenet5", MNIST, width=3), "no knob width"),
        (lambda: build("mlp", MNIST, norm="group"), "none, batch, layer"),
        (lambda: build("mlp", MNIST, init="zero"), "torch, kaiming, xavier"),
        (lambda: build("mlp", MNIST, width=0), "at least one unit"),
        (lambda: build("lenet5", (1, 15, 28)), "at least 16"),
        (lambda: build("mlp", (0, 28, 28)), "0x28x28"),
    ],
)
def test_a_wrong_call_is_explained(call, said):
    with pytest.raises(LabError, match=said):
        call()


def ours(input_shape, classes, *, width=2):
    """A network as ours are made: by input shape, classes and knobs."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(torch.Size(input_shape).numel(), width),
        nn.BatchNorm1d(width).eval(),
        nn.Linear(width, classes),
    )


def fixed(side=8):
    """One of no convention: all that it takes are knobs."""
    return nn.Sequential(nn.Flatten(), nn.Linear(side * side, 5))


def no_network(**knobs):
    return knobs


OURS = f"{__name__}:ours"


def test_a_function_of_a_library_is_a_model_too():
    spec = ModelSpec("torchvision.models:mobilenet_v3_small", (3, 32, 32), 7, {"dropout": 0.5})
    model = spec.build()
    assert model.training
    assert model.classifier[2].p == 0.5
    assert model.eval()(torch.zeros(2, 3, 32, 32)).shape == (2, 7)


def test_a_function_gets_what_its_signature_takes():
    model = build(OURS, (1, 4, 4), 3, width=6)
    assert (model[1].in_features, model[1].out_features, model[3].out_features) == (16, 6, 3)
    assert [module.training for module in model] == [True, True, False, True]  # as it was made
    assert build(f"{__name__}:fixed", (1, 3, 3), 5, side=3)[1].in_features == 9


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            lambda: build("no_such_package.models:net", MNIST),
            "there is no module no_such_package",
        ),
        (
            lambda: build("torchvision.models:resnet17", MNIST),
            "no attribute 'resnet17'",
        ),
        (lambda: build(":", MNIST), "':' names no function"),
        (lambda: build(f"{__name__}:MNIST", MNIST), "cannot be called"),
        (lambda: build(f"{__name__}:no_network", MNIST), "gives a dict"),
        (lambda: build(OURS, MNIST, depth=3), "no knob depth; it has width"),
        (lambda: build("torchvision.models:resnet18", MNIST, deep=3), "resnet18 does not build"),
        (lambda: build("torchvision.models:resnet18", MNIST), "cannot take images of 1x28x28"),
        (lambda: build(f"{__name__}:fixed", (1, 8, 8)), r"gives \(5,\) for an image, not 10"),
    ],
)
def test_a_name_that_is_no_model_is_explained(call, said):
    with pytest.raises(LabError, match=said):
        call()


@pytest.mark.parametrize("side", [4, 7, 14, 28])
def test_averaging_over_positions_makes_the_parameters_the_same_for_every_size(side):
    assert parameters(build("pooled_cnn", (1, side, side))) == KNOWN["pooled_cnn"]


@pytest.mark.parametrize(
    ("name", "classes", "knobs"),
    [
        ("torch:relu", 10, {}),
        ("builtins:int", 10, {}),
        ("mlp", 10, {"depth": "x"}),
        ("mlp", 0, {}),
        ("tensornet", 10, {"width": 15}),
    ],
)
def test_what_cannot_be_built_is_refused(name, classes, knobs):
    with pytest.raises(LabError, match=name):
        ModelSpec(name, classes=classes, knobs=knobs).build()


def test_resnet18_of_color_images_is_torchvisions():
    torch.manual_seed(0)
    ours = build("resnet18", (3, 32, 32)).state_dict()
    torch.manual_seed(0)
    theirs = build("torchvision.models:resnet18", (3, 32, 32)).state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_alexnet_has_the_proportions_of_torchvisions():
    ours = [m for m in build("alexnet", (3, 32, 32), width=64) if isinstance(m, nn.Conv2d)]
    theirs = build("torchvision.models:alexnet", (3, 64, 64)).features
    filters = [m.out_channels for m in theirs if isinstance(m, nn.Conv2d)]
    assert [m.out_channels for m in ours] == filters
