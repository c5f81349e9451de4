from __future__ import annotations

import psutil
import pytest
import torch

from labsupport.core.errors import LabError
from labsupport.data import load


def test_training_pixels_are_normalized_and_the_others_with_its_numbers():
    splits = load("mnist5k")
    assert abs(splits.train.x.mean()) < 1e-4
    assert abs(splits.train.x.std() - 1) < 1e-4
    assert abs(splits.test.x.mean()) > 1e-4  # normalizing it with its own mean would give 0
    zero = (0 - splits.mean[0]) / splits.std[0]
    for part in (splits.train, splits.val, splits.test):
        assert part.x.min().item() == pytest.approx(zero, abs=1e-5)


def test_the_fingerprint_follows_everything_that_changes_the_tensors():
    variants = [
        {},
        {"seed": 1},
        {"val_fraction": 0.2},
        {"size": 14},
        {"crop": 14},
        {"max_train": 99},
    ]
    fingerprints = [load("mnist5k", **variant).fingerprint for variant in variants]
    assert len(set(fingerprints)) == len(variants)
    assert load("mnist5k").fingerprint == load("mnist5k", size=28, crop=28).fingerprint
    assert load("mnist5k").fingerprint == fingerprints[0]


def test_size_and_crop_together():
    splits = load("mnist5k", size=20, crop=7, max_train=10)
    assert splits.input_shape == (1, 7, 7)
    assert len(splits.train) == 10


@pytest.mark.parametrize("wrong", [{"crop": 29}, {"size": 7, "crop": 8}])
def test_a_crop_larger_than_the_image_is_refused(wrong):
    with pytest.raises(LabError, match="is larger than the images"):
        load("mnist5k", **wrong)


@pytest.mark.parametrize("device", ["cuda:99", "warp"])
def test_a_device_that_is_not_there_is_refused(device):
    with pytest.raises(LabError, match=f'the device {device} cannot be used: .*"cpu"'):
        load("mnist5k", device=device)


def test_what_does_not_fit_in_memory_is_refused_and_stream_named(monkeypatch):
    needed = 5000 * 784 * 5
    memory = type("Memory", (), {"available": needed - 1})
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    with pytest.raises(LabError, match=r'mnist5k needs 0\.0 GB.*stream\("mnist5k", \.\.\.\)'):
        load("mnist5k")
    assert len(load("mnist5k", size=14).test) == 1000
    memory.available = needed
    assert len(load("mnist5k").test) == 1000


def test_loading_leaves_the_global_random_state_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    load("mnist5k")
    assert torch.equal(torch.get_rng_state(), before)
