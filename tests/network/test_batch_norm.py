"""Statistics of batch norms taken anew."""

import pytest
import torch
from made_rules import toy_images
from torch import nn

from labsupport.core.errors import LabError
from labsupport.network.batch_norm import recalibrated
from labsupport.network.fingerprint import fingerprint


def net():
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Dropout(0.5), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(108, 4), nn.BatchNorm1d(4, momentum=0.3)).eval()


def test_statistics_are_those_of_the_images():
    split, model = toy_images(40, 0), net()
    after = recalibrated(model, split)
    maps = model[0](split.x)
    torch.testing.assert_close(after[1].running_mean, maps.mean((0, 2, 3)))
    torch.testing.assert_close(after[1].running_var, maps.var((0, 2, 3)))
    # Dropout is off, and what lies behind a norm sees it normalized by the batch.
    normed = nn.functional.batch_norm(maps, None, None, training=True).relu().flatten(1)
    features = model[5](normed)
    torch.testing.assert_close(after[6].running_mean, features.mean(0), rtol=1e-3, atol=1e-5)
    assert after[6].momentum == 0.3
    assert not any(module.training for module in after.modules())


def test_images_weigh_alike_in_a_short_last_batch_too():
    split, model = toy_images(48, 0), net()
    split.x[46:] += 100
    mean = recalibrated(model, split, 46)[1].running_mean
    torch.testing.assert_close(mean, model[0](split.x).mean((0, 2, 3)))


def test_one_image_left_over_counts_not():
    split, model = toy_images(41, 0), net()
    maps = model[0](split.x[:40])
    mean = recalibrated(model, split, 10)[1].running_mean
    torch.testing.assert_close(mean, maps.mean((0, 2, 3)))


def test_a_network_without_norms_stays_the_same():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    assert fingerprint(recalibrated(model, toy_images(8, 0))) == fingerprint(model)


def test_no_image_and_batches_of_one_are_refused():
    with pytest.raises(LabError, match="batches of 1"):
        recalibrated(net(), toy_images(8, 0), 1)
    with pytest.raises(LabError, match="no images"):
        recalibrated(net(), toy_images(8, 0).take(0))
