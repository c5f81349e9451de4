from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from labsupport.core.errors import LabError
from labsupport.data.loading import load
from labsupport.data.splits import Split, normalized, statistics

CPU = torch.device("cpu")


def test_statistics_are_those_of_the_pixels():
    pixels = torch.randint(0, 256, (50, 3, 7, 5), dtype=torch.uint8)
    mean, std = statistics(pixels)
    scaled = pixels.double() / 255
    assert mean == pytest.approx(scaled.mean((0, 2, 3)).tolist())
    assert std == pytest.approx(scaled.std((0, 2, 3), correction=0).tolist())


def test_normalized_pixels_have_mean_zero_and_deviation_one():
    pixels = torch.randint(0, 256, (50, 3, 7, 5), dtype=torch.uint8)
    x = normalized(pixels, *statistics(pixels), CPU)
    assert torch.allclose(x.mean((0, 2, 3)), torch.zeros(3), atol=1e-5)
    assert torch.allclose(x.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-5)


def test_a_channel_without_spread_becomes_zero_rather_than_nan():
    pixels = torch.full((4, 1, 2, 2), 7, dtype=torch.uint8)
    assert torch.allclose(normalized(pixels, *statistics(pixels), CPU), torch.zeros(()), atol=1e-6)


def split(n: int = 10) -> Split:
    return Split(torch.arange(n, dtype=torch.float32).view(n, 1, 1, 1), torch.arange(n))


@given(st.integers(1, 40), st.integers(1, 50), st.booleans())
def test_batches_go_once_through_all_images_with_their_labels(n, batch_size, shuffle):
    generator = torch.Generator().manual_seed(n) if shuffle else None
    batches = list(split(n).batches(batch_size, generator))
    assert [len(y) for _, y in batches[:-1]] == [batch_size] * (len(batches) - 1)
    labels = torch.cat([y for _, y in batches])
    assert torch.equal(torch.cat([x for x, _ in batches]).flatten(), labels.float())
    assert labels.sort().values.tolist() == list(range(n))
    assert shuffle or labels.tolist() == list(range(n))


def test_shuffling_follows_the_generator_and_differs_between_epochs():
    def order(generator):
        return torch.cat([y for _, y in split(50).batches(8, generator)]).tolist()

    one, two = (torch.Generator().manual_seed(3) for _ in range(2))
    first = order(one)
    assert first == order(two)
    assert first != order(one)


def with_extras(n: int) -> Split:
    whole = split(n)
    return Split(whole.x, whole.y, {"double": 2 * whole.y, "pairs": whole.y.repeat(2, 1).T})


@given(st.integers(1, 40), st.integers(1, 50))
def test_training_batches_bring_the_extras_of_their_images(n, batch_size):
    batches = list(with_extras(n).training_batches(batch_size, torch.Generator().manual_seed(n)))
    pairs = split(n).batches(batch_size, torch.Generator().manual_seed(n))
    for batch, (x, y) in zip(batches, pairs, strict=True):
        assert torch.equal(batch.x, x)
        assert torch.equal(batch.y, y)
        assert torch.equal(batch.extras["double"], 2 * y)
        assert torch.equal(batch.extras["pairs"], torch.stack([y, y], 1))


def test_rows_are_taken_with_their_extras():
    whole = with_extras(9)
    first, some = whole.take(3), whole.select(torch.tensor([7, 2]))
    assert first.extras["double"].tolist() == [0, 2, 4]
    assert some.y.tolist() == some.x.flatten().tolist() == [7, 2]
    assert some.extras["double"].tolist() == [14, 4]


def test_extras_of_another_length_are_refused():
    with pytest.raises(LabError, match="3 rows of 'hints' for 10 images"):
        Split(split().x, split().y, {"hints": torch.zeros(3)})


def test_unshuffled_batches_and_take_are_views():
    whole = split()
    (x, y), *_ = whole.batches(4)
    assert x.data_ptr() == whole.x.data_ptr()
    assert y.data_ptr() == whole.y.data_ptr()
    assert whole.take(3).x.data_ptr() == whole.x.data_ptr()
    assert len(whole.take(3)) == 3


def test_batch_size_below_one_is_refused():
    with pytest.raises(LabError, match="batch size is 0"):
        split().batches(0)


def test_denormalize_gives_the_pixels_back():
    splits = load("mnist5k")
    pixels = splits.denormalize(splits.test.x) * 255
    assert torch.allclose(pixels, pixels.round(), atol=1e-3)
    assert pixels.aminmax() == pytest.approx((0, 255), abs=1e-3)
