"""Counting: three ways, one answer, and the model as it was."""

from itertools import chain, pairwise

import pytest
import torch
from torch import nn

from labsupport.core.errors import LabError
from labsupport.measure.counts import cross_checked, layers, thop_totals, torch_macs


def mlp(*widths: int) -> nn.Sequential:
    blocks = [(nn.Linear(i, o), nn.ReLU()) for i, o in pairwise(widths)]
    return nn.Sequential(nn.Flatten(), *list(chain.from_iterable(blocks))[:-1])


def pruning_net() -> nn.Sequential:
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.Flatten()),
        *(nn.Linear(25088, 1024), nn.ReLU(), nn.Linear(1024, 10)),
    )


def mixed() -> nn.Sequential:
    """Groups, stride, dilation, normalization, pooling, a nested container."""
    return nn.Sequential(
        nn.Conv2d(4, 8, 3, groups=2, stride=2, padding=1, dilation=2, bias=False),
        nn.BatchNorm2d(8),
        nn.Sequential(nn.ReLU(inplace=True), nn.AvgPool2d(2)),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(),
        nn.Linear(8, 3),
    )


class Twice(nn.Module):
    """One layer, applied twice."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(self.layer(x))


@pytest.mark.parametrize(
    ("model", "parameters", "macs"),
    [
        (mlp(784, 1024, 1024, 10), 1_863_690, 1_861_632),
        (mlp(784, 1024, 1024, 1024, 10), 2_913_290, 2_910_208),
        (pruning_net(), 25_706_186, 29_425_920),
    ],
)
def test_the_nets_of_the_course(model, parameters, macs):
    counts = cross_checked(model, (1, 28, 28))
    assert (counts.parameters, counts.macs) == (parameters, macs)
    assert (counts.parameters_thop, counts.macs_thop, counts.macs_torch) == (parameters, macs, macs)


def test_biases_and_activations_are_counted_apart():
    counts = cross_checked(mlp(784, 1024, 1024, 10), (1, 28, 28))
    assert counts.bias_adds == 1024 + 1024 + 10
    # Flatten, then each linear layer, then the two ReLUs.
    assert counts.activations == 784 + 2 * 1024 + 2 * 1024 + 10


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (mixed(), (4, 9, 9)),
        (nn.Linear(5, 6), (7, 5)),
        (nn.Linear(5, 6, bias=False), (7, 5)),
        (nn.Conv1d(4, 8, 3, groups=4, stride=2), (4, 11)),
        (Twice(), (6,)),
    ],
)
def test_three_ways_agree(model, shape):
    counts = cross_checked(model, shape)
    assert counts.macs > 0
    assert counts.parameters == sum(p.numel() for p in model.parameters())


def test_a_row_per_layer():
    table = layers(pruning_net(), (1, 28, 28))
    conv = table.iloc[2]
    assert list(table["kind"][:3]) == ["Conv2d", "ReLU", "Conv2d"]
    assert (conv["name"], conv["output_shape"]) == ("2", "32x28x28")
    assert conv["macs"] == 28 * 28 * 9 * 16 * 32
    assert conv["parameters"] == 9 * 16 * 32 + 32
    assert conv["bias_adds"] == conv["activations"] == 32 * 28 * 28


def test_a_layer_used_twice_computes_twice_and_is_stored_once():
    table = layers(Twice(), (6,))
    assert list(table["macs"]) == [36, 36]
    assert list(table["parameters"]) == [42, 0]


def test_parameters_that_no_call_uses_are_not_lost():
    model = Twice()
    model.unused = nn.Linear(2, 2)
    model.scale = nn.Parameter(torch.ones(3))
    table = layers(model, (6,))
    assert table["parameters"].sum() == sum(p.numel() for p in model.parameters())
    assert table["macs"].sum() == 72


def test_the_model_is_left_as_it_was():
    model = mixed().train()
    model[1].eval()  # frozen on purpose
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    names = [sorted(vars(module)) for module in model.modules()]
    cross_checked(model, (4, 9, 9))
    assert [module.training for module in model.modules()] == modes
    assert [sorted(vars(module)) for module in model.modules()] == names
    assert not any(module._forward_hooks for module in model.modules())
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(model.state_dict()[name], before[name]) for name in before)


def test_hooks_and_modes_are_put_back_after_a_failure():
    model = mlp(4, 3).train()
    with pytest.raises(LabError, match="does not accept an input"):
        layers(model, (5,))
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())


def test_a_product_outside_a_layer_is_found():
    class Hidden(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x) @ self.layer.weight

    with pytest.raises(LabError, match="16 by closed form, 16 by thop, 32 by torch"):
        cross_checked(Hidden(), (4,))


def test_a_layer_without_a_single_tensor_is_refused_by_name():
    with pytest.raises(LabError, match="layer 0 does not map"):
        layers(nn.Sequential(nn.GRU(3, 3)), (2, 3))


def test_thop_counts_neither_normalization_nor_pooling():
    model = nn.Sequential(nn.BatchNorm2d(2), nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(1))
    assert thop_totals(model, (2, 8, 8)) == (0, 4)
    assert torch_macs(model, (2, 8, 8)) == 0
