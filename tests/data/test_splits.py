from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from labsupport.core.errors import LabError
from labsupport.data.images import Fit, InMemory, Raw
from labsupport.data.loading import load
from labsupport.data.splits import Split, hashed, normalized, shared_out, statistics

CPU = torch.device("cpu")


def pool(n: int) -> InMemory:
    """Images of one pixel whose labels are their own numbers, so that each can be followed."""
    return InMemory(torch.zeros(n, 1, 1, 1, dtype=torch.uint8), torch.arange(n))


def raw(n: int, val: int = 0, test: int = 0) -> Raw:
    names = tuple(str(label) for label in range(max(n, val, test)))
    return Raw(pool(n), pool(val) if val else None, pool(test) if test else None, names)


def rows(shares):
    return [share.rows.tolist() for share in shares]


@given(st.integers(4, 300), st.floats(0.01, 0.99), st.integers(0, 2**31))
def test_one_pool_is_dealt_disjoint_and_whole(n, val_fraction, seed):
    train, val, test = rows(shared_out(raw(n), seed, val_fraction))
    assert sorted(train + val + test) == list(range(n))
    assert all((train, val, test))
    assert len(test) == max(1, round(0.2 * n))


@given(st.integers(2, 300), st.floats(0.01, 0.99), st.integers(0, 2**31))
def test_own_test_part_is_kept_as_it_is(n, val_fraction, seed):
    train, val, test = shared_out(raw(n, test=7), seed, val_fraction)
    assert sorted(train.rows.tolist() + val.rows.tolist()) == list(range(n))
    assert test.rows.tolist() == list(range(7))
    assert len(val.rows) == min(max(1, round(val_fraction * n)), n - 1)


def test_own_validation_part_is_kept_and_test_still_dealt_from_train():
    train, val, test = rows(shared_out(raw(10, val=4), 0, 0.1))
    assert val == [0, 1, 2, 3]
    assert len(test) == 2
    assert sorted(train + test) == list(range(10))


def test_same_seed_same_parts_other_seed_other_validation_but_the_same_test():
    first, again, other = (rows(shared_out(raw(100), seed, 0.1)) for seed in (1, 1, 2))
    assert first == again
    assert first[1] != other[1]
    assert first[2] == other[2]


def test_max_train_shortens_training_alone():
    whole, short = shared_out(raw(100), 0, 0.1), shared_out(raw(100), 0, 0.1, max_train=10)
    assert short.train.rows.tolist() == whole.train.rows.tolist()[:10]
    assert rows(short)[1:] == rows(whole)[1:]


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan")])
def test_fraction_outside_zero_to_one_is_refused(fraction):
    with pytest.raises(LabError, match="val_fraction is"):
        shared_out(raw(10), 0, fraction)


def test_too_few_images_and_too_small_a_training_part_are_refused():
    with pytest.raises(LabError, match="too few images"):
        shared_out(raw(2), 0, 0.1)
    with pytest.raises(LabError, match="max_train is 0"):
        shared_out(raw(10), 0, 0.1, max_train=0)


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


def test_fingerprint_hash_tells_values_shapes_and_types_apart():
    base = torch.arange(6)
    variants = [base, base.view(2, 3), base.flip(0), base.to(torch.uint8)]
    assert len({hashed([variant]) for variant in variants}) == 4
    assert hashed([base]) == hashed([base.clone()])


def test_denormalize_gives_the_pixels_back():
    splits = load("mnist5k")
    pixels = splits.denormalize(splits.test.x) * 255
    assert torch.allclose(pixels, pixels.round(), atol=1e-3)
    assert pixels.aminmax() == pytest.approx((0, 255), abs=1e-3)


def test_shape_of_parts_must_agree():
    big = InMemory(torch.zeros(9, 1, 4, 4, dtype=torch.uint8), torch.zeros(9, dtype=torch.int64))
    shares = shared_out(Raw(pool(9), None, big, tuple("012345678")), 0, 0.2)
    with pytest.raises(
        LabError, match=r"test images are 1 x 4 x 4, those of train 1 x 1 x 1.*size"
    ):
        shares.image_shape(Fit())
    assert shares.image_shape(Fit(size=6)) == (1, 6, 6)
