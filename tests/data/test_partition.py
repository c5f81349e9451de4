from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from labsupport.core.errors import LabError
from labsupport.data.images import Framing, InMemory, Raw
from labsupport.data.partition import partition


def pool(n: int) -> InMemory:
    """Images of one pixel whose labels are their own numbers, so that each can be followed."""
    return InMemory(torch.zeros(n, 1, 1, 1, dtype=torch.uint8), torch.arange(n))


def raw(n: int, val: int = 0, test: int = 0) -> Raw:
    names = tuple(str(label) for label in range(max(n, val, test)))
    return Raw(pool(n), pool(val) if val else None, pool(test) if test else None, names)


def rows(parts):
    return [part.rows.tolist() for part in parts]


@given(st.integers(4, 300), st.floats(0.01, 0.99), st.integers(0, 2**31))
def test_one_pool_is_dealt_disjoint_and_whole(n, val_fraction, seed):
    train, val, test = rows(partition(raw(n), seed, val_fraction))
    assert sorted(train + val + test) == list(range(n))
    assert all((train, val, test))
    assert len(test) == max(1, round(0.2 * n))


@given(st.integers(2, 300), st.floats(0.01, 0.99), st.integers(0, 2**31))
def test_own_test_part_is_kept_as_it_is(n, val_fraction, seed):
    train, val, test = partition(raw(n, test=7), seed, val_fraction)
    assert sorted(train.rows.tolist() + val.rows.tolist()) == list(range(n))
    assert test.rows.tolist() == list(range(7))
    assert len(val.rows) == min(max(1, round(val_fraction * n)), n - 1)


def test_own_validation_part_is_kept_and_test_still_dealt_from_train():
    train, val, test = rows(partition(raw(10, val=4), 0, 0.1))
    assert val == [0, 1, 2, 3]
    assert len(test) == 2
    assert sorted(train + test) == list(range(10))


def test_same_seed_same_parts_other_seed_other_validation_but_the_same_test():
    first, again, other = (rows(partition(raw(100), seed, 0.1)) for seed in (1, 1, 2))
    assert first == again
    assert first[1] != other[1]
    assert first[2] == other[2]


def test_max_train_shortens_training_alone():
    whole, short = partition(raw(100), 0, 0.1), partition(raw(100), 0, 0.1, max_train=10)
    assert short.train.rows.tolist() == whole.train.rows.tolist()[:10]
    assert rows(short)[1:] == rows(whole)[1:]


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan")])
def test_fraction_outside_zero_to_one_is_refused(fraction):
    with pytest.raises(LabError, match="val_fraction is"):
        partition(raw(10), 0, fraction)


def test_too_few_images_and_too_small_a_training_part_are_refused():
    with pytest.raises(LabError, match="too few images"):
        partition(raw(2), 0, 0.1)
    with pytest.raises(LabError, match="max_train is 0"):
        partition(raw(10), 0, 0.1, max_train=0)


def test_shape_of_parts_must_agree():
    big = InMemory(torch.zeros(9, 1, 4, 4, dtype=torch.uint8), torch.zeros(9, dtype=torch.int64))
    parts = partition(Raw(pool(9), None, big, tuple("012345678")), 0, 0.2)
    with pytest.raises(
        LabError, match=r"test images are 1 x 4 x 4, those of train 1 x 1 x 1.*size"
    ):
        parts.image_shape(Framing())
    assert parts.image_shape(Framing(size=6)) == (1, 6, 6)
