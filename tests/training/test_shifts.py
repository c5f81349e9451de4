import weakref

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from labsupport.core.errors import LabError
from labsupport.data import Split
from labsupport.training.augmentation import shifted, shifts, with_shifts

MOVE = st.integers(-3, 3)


def images(n=2, channels=3, height=5, width=6):
    values = torch.arange(n * channels * height * width, dtype=torch.float32)
    return values.view(n, channels, height, width)


@given(MOVE, MOVE)
def test_every_pixel_comes_from_where_it_was_or_from_the_nearest_border(down, right):
    x = images()
    out = shifted(x, down, right)
    assert out.shape == x.shape
    for row in range(5):
        for column in range(6):
            source = x[..., min(max(row - down, 0), 4), min(max(column - right, 0), 5)]
            assert torch.equal(out[..., row, column], source)


@given(MOVE, MOVE)
def test_inside_the_border_it_is_a_roll(down, right):
    x = images(height=9, width=8)
    rolled = torch.roll(x, (down, right), (2, 3))
    assert torch.equal(shifted(x, down, right)[..., 3:-3, 3:-3], rolled[..., 3:-3, 3:-3])


def test_down_and_right_are_what_they_say():
    x = torch.zeros(1, 1, 3, 3)
    x[0, 0, 1, 1] = 1
    assert shifted(x, 1, 0)[0, 0, 2, 1] == 1
    assert shifted(x, 0, 1)[0, 0, 1, 2] == 1


def test_images_are_not_written_to_and_no_move_changes_nothing():
    x = images()
    before = x.clone()
    shifted(x, 2, -1).zero_()
    assert torch.equal(x, before)
    assert torch.equal(shifted(x, 0, 0), x)


@pytest.mark.parametrize("move", [(5, 0), (0, -5), (-6, 1)])
def test_a_move_as_large_as_the_image_is_refused(move):
    with pytest.raises(LabError, match="5 x 6 images"):
        shifted(images(), *move)


def test_an_empty_batch_moves_too():
    assert shifted(images(n=0), 1, 1).shape == (0, 3, 5, 6)


@pytest.mark.parametrize("most", [0, 1, 3])
def test_all_moves_are_there_once(most):
    moves = shifts(most)
    assert len(moves) == len(set(moves)) == (2 * most + 1) ** 2
    assert (0, 0) in moves
    assert max(abs(step) for move in moves for step in move) == most


def test_a_split_once_per_move_with_its_labels_and_extras():
    split = Split(images(), torch.tensor([4, 2]), {"hints": torch.tensor([7, 8])})
    for part, move in zip(with_shifts(split, 1), shifts(1), strict=True):
        assert torch.equal(part.x, shifted(split.x, *move))
        assert torch.equal(part.y, split.y)
        assert torch.equal(part.extras["hints"], split.extras["hints"])


def test_shifted_splits_are_made_one_at_a_time():
    parts = with_shifts(Split(images(), torch.tensor([4, 2])), 1)
    held = weakref.ref(next(parts).x)
    next(parts)
    assert held() is None


@pytest.mark.parametrize("most", [-1, -3])
def test_fewer_than_no_pixels_are_refused(most):
    with pytest.raises(LabError, match=f"shift of {most} pixels"):
        shifts(most)
