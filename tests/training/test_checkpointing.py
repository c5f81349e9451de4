"""Checkpointed training: the same answers and gradients, fewer arrays held."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from labsupport.core.errors import LabError
from labsupport.data import Split
from labsupport.measure.memory import activation_peak
from labsupport.training.checkpointing import Checkpointed


@pytest.fixture
def layers() -> nn.Sequential:
    torch.manual_seed(0)
    blocks = [layer for _ in range(16) for layer in (nn.Linear(64, 64), nn.ReLU())]
    return nn.Sequential(*blocks, nn.Linear(64, 10))


@pytest.mark.parametrize("segments", [1, 2, 4, 33])
def test_answers_and_gradients_are_the_same(layers, segments):
    x, target = torch.randn(5, 64), torch.randn(5, 10)
    gradients = []
    for network in (layers, Checkpointed(layers, segments)):
        answer = network(x)
        gradients.append(torch.autograd.grad(((answer - target) ** 2).sum(), layers.parameters()))
    assert torch.equal(layers(x), Checkpointed(layers, segments)(x))
    for kept, again in zip(*gradients, strict=True):
        torch.testing.assert_close(kept, again)


def test_fewer_arrays_are_held(layers):
    batch = Split(torch.randn(256, 64), torch.zeros(256, dtype=torch.int64))
    assert activation_peak(Checkpointed(layers, 4), batch) < 0.7 * activation_peak(layers, batch)


@pytest.mark.parametrize("segments", [0, -1, 34])
def test_segments_that_cannot_be_are_refused(layers, segments):
    with pytest.raises(LabError, match="segments"):
        Checkpointed(layers, segments)
