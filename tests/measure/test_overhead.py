"""The four epochs do the same steps; nothing here asks how long they take."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD
from torch.utils.data import DataLoader

from labsupport.core.errors import LabError
from labsupport.data import Split, Splits
from labsupport.measure import overhead
from labsupport.training import train_epoch

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.1)


def made(channels: int = 1, images: int = 20) -> Splits:
    pixels = torch.randint(0, 256, (images, channels, 4, 5), generator=torch.manual_seed(0))
    mean, std = (torch.tensor(v[:channels]).view(-1, 1, 1) for v in (MEAN, STD))
    part = Split((pixels / 255 - mean) / std, torch.arange(images) % 3)
    return Splits("made", part, part, part, ("a", "b", "c"), MEAN[:channels], STD[:channels], "")


def net(channels: int = 1) -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * 20, 3))


@pytest.mark.parametrize("channels", [1, 3])
def test_the_loader_gives_the_images_that_we_hold(channels):
    splits = made(channels)
    x, y = next(iter(DataLoader(overhead.Pictures(splits, 20), 20)))
    torch.testing.assert_close(x, splits.train.x, atol=1e-5, rtol=1e-5)
    assert y.tolist() == splits.train.y.tolist()


def test_bare_steps_train_as_our_loop_does_on_the_same_batches():
    split = made().train
    bare, ours = net(), net()
    overhead.bare_steps(bare, SGD(bare.parameters(), 0.1), split.x, split.y, 3)
    train_epoch(ours, [(split.x, split.y)] * 3, SGD(ours.parameters(), 0.1))
    torch.testing.assert_close(bare.state_dict(), ours.state_dict())


def test_the_loader_epoch_trains_as_our_loop_does():
    splits = made()
    usual, ours = net(), net()
    loader = DataLoader(overhead.Pictures(splits, 20), 5)
    first = cross_entropy(usual(splits.train.x), splits.train.y).item()
    loss = overhead.loader_epoch(usual, SGD(usual.parameters(), 0.1), loader)
    expected = train_epoch(ours, splits.train.batches(5), SGD(ours.parameters(), 0.1))
    torch.testing.assert_close(usual.state_dict(), ours.state_dict(), atol=1e-5, rtol=1e-5)
    assert loss == pytest.approx(expected.loss, rel=1e-4)
    assert loss != pytest.approx(first)


def test_every_epoch_takes_whole_batches_and_trains_a_copy(monkeypatch):
    model, splits = net(), made()
    before = copy.deepcopy(model.state_dict())
    steps: list[int] = []
    cross = overhead.cross_entropy
    monkeypatch.setattr(
        overhead, "cross_entropy", lambda logits, y: steps.append(len(y)) or cross(logits, y)
    )
    calls = overhead.epochs(model, splits, 8, 20)
    for name in (overhead.BARE, overhead.LOADER):
        steps.clear()
        calls[name]()
        assert steps == [8, 8]
    calls[overhead.OURS]()
    calls[overhead.WITH_VALIDATION]()
    torch.testing.assert_close(model.state_dict(), before)


def test_more_images_than_there_are_means_all():
    assert set(overhead.epochs(net(), made(), 20, 1000)) == {
        overhead.OURS,
        overhead.WITH_VALIDATION,
        overhead.BARE,
        overhead.LOADER,
    }


def test_less_than_a_batch_is_refused():
    with pytest.raises(LabError, match="less than a batch of 64"):
        overhead.epochs(net(), made(), 64, 20)


def test_clocking_gives_each_epoch_a_time_a_round():
    clocked = overhead.clock_epochs(net(), made(), batch_size=8, images=1000, rounds=2)
    assert list(clocked.table["batch"]) == [16] * 4
    assert list(clocked.table["calls"]) == [2, 2, 2, 2]
    assert list(clocked.turns) == list(clocked.table["name"])


def test_an_epoch_is_called_off_the_clock_before_each_clocked_one(monkeypatch):
    called = []
    ways = {name: lambda name=name: called.append(name) for name in ("one", "other")}
    monkeypatch.setattr(overhead, "epochs", lambda *_: ways)
    overhead.clock_epochs(net(), made(), batch_size=8, images=16, rounds=3)
    assert sorted(called) == ["one"] * 6 + ["other"] * 6
