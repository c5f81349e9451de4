"""Weights drawn anew: of the same sizes, from the seed, and the network given stays as it was."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from labsupport.core.errors import LabError
from labsupport.models import build, drawn_anew


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
