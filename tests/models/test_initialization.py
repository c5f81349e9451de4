"""Weights drawn anew: of the same sizes, from the seed, and the network given stays as it was."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from labsupport.core.errors import LabError
from labsupport.models import build, drawn_anew, whitened


def test_the_weights_are_those_of_a_new_network_from_the_seed():
    used = build("lenet5", (1, 28, 28))
    before = {name: value.clone() for name, value in used.state_dict().items()}
    torch.manual_seed(3)
    expected = build("lenet5", (1, 28, 28)).state_dict()
    torch.manual_seed(9)
    following = torch.rand(2)
    torch.manual_seed(9)
    found = drawn_anew(used, 3).state_dict()
    assert torch.equal(torch.rand(2), following)
    torch.testing.assert_close(found, expected, atol=0, rtol=0)
    torch.testing.assert_close(used.state_dict(), before, atol=0, rtol=0)


def test_statistics_of_a_norm_start_again():
    norm = nn.Sequential(nn.BatchNorm1d(2))
    norm(torch.randn(8, 2) + 5)
    assert drawn_anew(norm, 0)[0].running_mean.tolist() == [0, 0]


def test_weights_that_nobody_can_draw_are_refused():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(2))

    with pytest.raises(LabError, match="reset_parameters"):
        drawn_anew(nn.Sequential(Own()), 0)


def images(n=50):
    """Neighboring pixels that are alike, on three channels that are, too."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(n, 3, 8, 8, generator=draw).cumsum(3) / 3
    return x + x[:, :1]


@pytest.mark.parametrize("filters", [5, 12, 20, 24])
def test_whitened_patches_are_uncorrelated_and_of_unit_variance(filters):
    model = nn.Sequential(nn.Conv2d(3, filters, 2), nn.ReLU())
    x = images()
    after = whitened(model, "0", x)
    answers = after[0](x).movedim(1, 3).flatten(0, 2).detach()
    components = min(filters, 12)
    covariance = answers[:, :components].T.cov(correction=0)
    torch.testing.assert_close(covariance, torch.eye(components), atol=0.05, rtol=0)
    negatives = filters - components
    torch.testing.assert_close(after[0].weight[components:], -after[0].weight[:negatives])
    assert after[0].bias.eq(0).all()
    assert model[0].bias.ne(0).any()


def test_the_largest_component_comes_first():
    norms = whitened(nn.Conv2d(3, 12, 2), "", images()).weight.flatten(1).norm(dim=1)
    assert (norms.diff() >= 0).all()  # over a deviation that falls


@pytest.mark.parametrize(
    ("layer", "convolution", "shape", "said"),
    [
        ("1", nn.Conv2d(3, 4, 2), (5, 3, 8, 8), "'1' is no convolution"),
        ("2", nn.Conv2d(3, 4, 2), (5, 3, 8, 8), "'2' is no convolution"),
        ("0", nn.Conv2d(3, 6, 2, groups=3), (5, 3, 8, 8), "'0' is no convolution"),
        ("0", nn.Conv2d(3, 4, 2), (5, 1, 8, 8), "whiten images of 5x1x8x8"),
        ("0", nn.Conv2d(3, 4, 2), (0, 3, 8, 8), "whiten images of 0x3x8x8"),
        ("0", nn.Conv2d(3, 25, 2), (5, 3, 8, 8), "25 filters for 12 numbers"),
    ],
)
def test_a_layer_that_cannot_whiten_is_refused(layer, convolution, shape, said):
    with pytest.raises(LabError, match=said):
        whitened(nn.Sequential(convolution, nn.ReLU()), layer, torch.zeros(shape))
