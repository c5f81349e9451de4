"""Bytes on disk are those of a real file."""

import safetensors.torch
import torch
from torch import nn

from labsupport.measure.disk import disk_bytes


def test_equal_to_the_file(tmp_path):
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 3))
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file(model.state_dict(), path)
    assert disk_bytes(model) == path.stat().st_size


def test_weights_and_a_small_header():
    model = nn.Linear(100, 100)
    header = disk_bytes(model) - 4 * 10_100
    assert 0 < header < 500


def test_shared_weights_are_stored_once():
    tied = nn.Sequential(nn.Linear(50, 50), nn.Linear(50, 50))
    tied[1].weight = tied[0].weight
    assert disk_bytes(tied) < 4 * (2500 + 2 * 50) + 500


def test_transposed_weights_can_be_stored():
    model = nn.Linear(3, 5)
    model.weight = nn.Parameter(torch.zeros(3, 5).T)
    assert disk_bytes(model) == disk_bytes(nn.Linear(3, 5))
