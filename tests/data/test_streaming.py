from __future__ import annotations

import pytest
import torch

from labsupport.core.errors import LabError
from labsupport.data import load, loading, stream


def whole(part, batch_size=5, generator=None):
    xs, ys = zip(*part.batches(batch_size, generator), strict=True)
    return torch.cat(xs), torch.cat(ys)


def test_streamed_parts_equal_loaded_ones(image_folder):
    name = f"folder:{image_folder(side=9)}"
    knobs = {"size": 7, "crop": 5, "seed": 3, "val_fraction": 0.2}
    loaded, streamed = load(name, **knobs), stream(name, **knobs)
    assert (streamed.mean, streamed.std) == (loaded.mean, loaded.std)
    assert streamed.classes == loaded.classes
    assert streamed.input_shape == loaded.input_shape == (3, 5, 5)
    for part in ("train", "val", "test"):
        x, y = whole(getattr(streamed, part))
        assert len(getattr(streamed, part)) == len(y)
        assert torch.equal(x, getattr(loaded, part).x)
        assert torch.equal(y, getattr(loaded, part).y)


def test_shuffled_batches_go_once_through_all_images():
    streamed = stream("mnist5k", max_train=40).train
    plain, shuffled = whole(streamed), whole(streamed, 7, torch.Generator().manual_seed(1))
    again = whole(streamed, 7, torch.Generator().manual_seed(1))
    assert torch.equal(shuffled[0], again[0])
    assert not torch.equal(shuffled[0], plain[0])
    assert torch.equal(
        shuffled[0].sum((1, 2, 3)).sort().values, plain[0].sum((1, 2, 3)).sort().values
    )
    assert torch.equal(shuffled[1].sort().values, plain[1].sort().values)


def test_take_is_the_first_images():
    part = stream("mnist5k").test
    _, y = whole(part.take(8), 3)
    assert len(part.take(8)) == len(y) == 8
    assert torch.equal(y, load("mnist5k").test.y[:8])


def test_normalization_from_a_sample_is_close(monkeypatch):
    monkeypatch.setattr(loading, "SAMPLE", 500)
    loaded, streamed = load("mnist5k"), stream("mnist5k")
    assert streamed.mean != loaded.mean
    assert streamed.mean == pytest.approx(loaded.mean, rel=0.05)
    assert streamed.std == pytest.approx(loaded.std, rel=0.05)


def test_the_fingerprint_tells_parts_and_pixels_apart():
    variants = [{}, {"seed": 1}, {"size": 14}, {"max_train": 99}]
    assert len({stream("mnist5k", **variant).fingerprint for variant in variants}) == 4
    assert stream("mnist5k").fingerprint == stream("mnist5k").fingerprint


def test_an_unreadable_image_is_one_clear_error(image_folder):
    part = stream(f"folder:{image_folder()}").test
    broken = part.subset.images.files[-1]
    broken.write_bytes(b"no image")
    with pytest.raises(LabError, match=f"^cannot read the image {broken}: .*repair"):
        whole(part)


def test_bad_calls_are_refused():
    with pytest.raises(LabError, match="batch size is 0"):
        stream("mnist5k").test.batches(0)
    with pytest.raises(LabError, match="larger than the images"):
        stream("mnist5k", crop=29)


def test_training_batches_are_the_shuffled_ones():
    streamed = stream("mnist5k", max_train=40).train
    batches = streamed.training_batches(7, torch.Generator().manual_seed(1))
    pairs = streamed.batches(7, torch.Generator().manual_seed(1))
    for batch, (x, y) in zip(batches, pairs, strict=True):
        assert torch.equal(batch.x, x)
        assert torch.equal(batch.y, y)
        assert not batch.extras
