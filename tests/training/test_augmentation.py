import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import pad

from labsupport.core.errors import LabError
from labsupport.training import Affine, Crop, Flip, Shift
from labsupport.training.augmentation import shifted, shifts

N = 300


def images(n=N, channels=2, height=6, width=7):
    """No two images, and no two windows of an image, are alike."""
    values = torch.rand(n, channels, height, width, generator=torch.Generator().manual_seed(0))
    return values + 1


def drawn(augmentation, x, seed=0):
    return augmentation(x, torch.Generator().manual_seed(seed))


def crops(x, padding):
    """All windows of one image, by slices of the padded one."""
    padded, (height, width) = pad(x, (padding,) * 4), x.shape[-2:]
    places = [(i, j) for i in range(2 * padding + 1) for j in range(2 * padding + 1)]
    return {(i, j): padded[..., i : i + height, j : j + width] for i, j in places}


@given(st.integers(0, 2))
def test_every_image_is_moved_by_one_of_the_shifts(pixels):
    x = images(20)
    for before, after in zip(x.split(1), drawn(Shift(pixels), x).split(1), strict=True):
        found = [m for m in shifts(pixels) if torch.equal(after, shifted(before, *m))]
        assert len(found) == 1


@given(st.integers(0, 2))
def test_every_crop_is_a_window_of_its_padded_image(padding):
    x = images(20)
    for before, after in zip(x.split(1), drawn(Crop(padding), x).split(1), strict=True):
        found = [m for m, window in crops(before, padding).items() if torch.equal(after, window)]
        assert len(found) == 1


def test_every_flip_is_the_image_or_its_mirror():
    x = images()
    after = drawn(Flip(), x)
    mirrored = [torch.equal(a, b.flip(-1)) for a, b in zip(after, x, strict=True)]
    same = [torch.equal(a, b) for a, b in zip(after, x, strict=True)]
    assert all(a != b for a, b in zip(mirrored, same, strict=True))


def moves_of(augmentation, choices, x):
    after = drawn(augmentation, x)
    return [
        next(m for m, image in choices(before).items() if torch.equal(image, now))
        for before, now in zip(x.split(1), after.split(1), strict=True)
    ]


@pytest.mark.parametrize(
    ("augmentation", "choices", "places"),
    [
        (Shift(1), lambda x: {m: shifted(x, *m) for m in shifts(1)}, 9),
        (Crop(1), lambda x: crops(x, 1), 9),
        (Flip(), lambda x: {0: x, 1: x.flip(-1)}, 2),
        (Flip(0.1), lambda x: {0: x, 1: x.flip(-1)}, 2),
    ],
)
def test_images_of_a_batch_are_changed_independently_and_as_often(augmentation, choices, places):
    """Each place within five standard deviations of its expected number of images."""
    found = moves_of(augmentation, choices, images())
    chance = getattr(augmentation, "probability", 1 / places)
    chances = [1 - chance, chance] if places == 2 else [chance] * places
    for place, p in zip(sorted(set(found)), chances, strict=True):
        assert abs(found.count(place) - N * p) < 5 * (N * p * (1 - p)) ** 0.5


@pytest.mark.parametrize("augmentation", [Flip(), Crop(2), Shift(2)])
def test_the_generator_decides_and_images_are_not_written_to(augmentation):
    x = images()
    before = x.clone()
    after = drawn(augmentation, x, 1)
    assert torch.equal(after, drawn(augmentation, x, 1))
    assert not torch.equal(after, drawn(augmentation, x, 2))
    after.zero_()
    assert torch.equal(x, before)


@pytest.mark.parametrize("augmentation", [Flip(0), Crop(0), Shift(0)])
def test_nothing_to_do_changes_nothing(augmentation):
    assert torch.equal(drawn(augmentation, images()), images())


@pytest.mark.parametrize("augmentation", [Flip(), Crop(2), Shift(2)])
def test_an_empty_batch_stays_empty(augmentation):
    assert drawn(augmentation, images(0)).shape == (0, 2, 6, 7)


@pytest.mark.parametrize(
    "make", [lambda: Flip(1.1), lambda: Flip(-0.1), lambda: Crop(-1), lambda: Shift(-1)]
)
def test_what_cannot_be_is_refused(make):
    with pytest.raises(LabError):
        make()


def test_a_shift_as_large_as_the_image_is_refused():
    with pytest.raises(LabError, match="6 x 7 images"):
        drawn(Shift(6), images())


def test_turned_by_nothing_images_stay_as_they_are():
    x = torch.randn(4, 2, 7, 9)
    torch.testing.assert_close(drawn(Affine(0, 0), x), x)


@pytest.mark.parametrize("shape", [(41, 41), (61, 31), (31, 61)])
def test_a_dot_turns_and_moves_no_further_than_it_may(shape):
    x = torch.zeros(200, 1, *shape)
    middle = torch.tensor(shape) // 2
    dot = middle - torch.tensor([10, 0])
    x[:, :, dot[0] - 1 : dot[0] + 2, dot[1] - 1 : dot[1] + 2] = 1
    moved = drawn(Affine(30, 0.2), x)[:, 0]
    mass = moved.sum((1, 2))
    down = (moved.sum(2) * torch.arange(shape[0])).sum(1) / mass - middle[0]
    across = (moved.sum(1) * torch.arange(shape[1])).sum(1) / mass - middle[1]
    angle, distance = torch.atan2(across, -down).rad2deg(), (down**2 + across**2).sqrt()
    assert angle.abs().max() < 31
    assert (angle.min() < -25) & (angle.max() > 25)
    assert distance.min() > 10 / 1.2 - 0.2
    assert distance.max() < 12.2
    assert distance.max() - distance.min() > 3


@pytest.mark.parametrize("given", [(-1, 0), (181, 0), (0, -0.1), (0, math.inf), (math.nan, 0)])
def test_turns_that_cannot_be_are_refused(given):
    with pytest.raises(LabError, match="turning by"):
        Affine(*given)
