from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from made_images import noise, save_image
from PIL import Image
from torchvision.transforms.v2.functional import resize

from labsupport.core.errors import LabError
from labsupport.data.images import Framing, InMemory, OnDisk, Raw, center_crop

SIDES = st.integers(1, 12)


def zeros(n: int) -> torch.Tensor:
    return torch.zeros(n, dtype=torch.int64)


@given(SIDES)
def test_full_size_and_full_crop_change_nothing(side):
    images = noise(3, 2, side, side)
    assert torch.equal(Framing(size=side, crop=side)(images), images)


@given(SIDES, SIDES, SIDES, st.integers(0, 255))
def test_a_constant_image_stays_constant(height, width, size, value):
    images = torch.full((2, 1, height, width), value, dtype=torch.uint8)
    assert torch.equal(Framing(size=size)(images), torch.full((2, 1, size, size), value))


@given(SIDES, SIDES, st.integers(1, 12))
def test_shape_foretells_what_fitting_gives(height, width, size):
    framing = Framing(size=size, crop=(size + 1) // 2)
    assert framing(noise(2, 3, height, width)).shape[1:] == framing.shape((3, height, width))


def test_crop_takes_the_middle():
    image = torch.arange(25).view(1, 1, 5, 5)
    assert center_crop(image, 3).flatten().tolist() == [6, 7, 8, 11, 12, 13, 16, 17, 18]


def test_halving_a_picture_of_two_halves_keeps_their_brightness():
    image = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    image[..., 4:] = 200
    small = Framing(size=4)(image)[0, 0]
    assert (small[:, 0] == 0).all()
    assert (small[:, 3] == 200).all()


def test_resizing_agrees_with_torchvision():
    images = noise(5, 3, 20, 20)
    theirs = resize(images, [9, 9], antialias=True)
    assert (Framing(size=9)(images).int() - theirs.int()).abs().max() <= 1


@pytest.mark.parametrize("wrong", [{"size": 0}, {"crop": 0}, {"size": -3}])
def test_sizes_below_one_are_refused(wrong):
    with pytest.raises(LabError, match="1 or more"):
        Framing(**wrong)


def test_a_crop_larger_than_the_image_is_refused():
    with pytest.raises(LabError, match=r"crop=9 is larger than the images, which are 8 x 10"):
        Framing(crop=9).shape((1, 8, 10))
    with pytest.raises(LabError, match="crop=7 is larger"):
        Framing(size=6, crop=7)(noise(1, 1, 8, 8))


def test_images_and_labels_must_be_as_many():
    with pytest.raises(LabError, match="3 images but 2 labels"):
        InMemory(noise(3, 1, 2, 2), zeros(2))


def test_a_label_without_a_class_is_refused():
    images = InMemory(noise(3, 1, 2, 2), torch.tensor([0, 1, 2]))
    with pytest.raises(
        LabError, match=r"label 2 of image 3 in the val part is out of range.*0 to 1"
    ):
        Raw(InMemory(noise(1, 1, 2, 2), zeros(1)), images, None, ("a", "b"))


def test_a_part_without_images_is_refused():
    with pytest.raises(LabError, match="train part has no images"):
        Raw(InMemory(noise(0, 1, 2, 2), zeros(0)), None, None, ("a",))


def test_files_are_read_as_they_were_written(tmp_path):
    color, gray = noise(8, 6, 3).numpy(), noise(8, 6).numpy()
    save_image(tmp_path / "color.png", color)
    save_image(tmp_path / "gray.png", gray)
    read = OnDisk([tmp_path / "color.png"], zeros(1), 3).read(zeros(1), Framing())
    assert np.array_equal(read[0].permute(1, 2, 0), color)
    read = OnDisk([tmp_path / "gray.png"], zeros(1), 1).read(zeros(1), Framing())
    assert np.array_equal(read[0, 0], gray)


def test_only_the_asked_rows_are_read(tmp_path):
    for value in range(4):
        save_image(tmp_path / f"{value}.png", np.full((2, 2), value, dtype=np.uint8))
    images = OnDisk([tmp_path / f"{value}.png" for value in range(4)], zeros(4), 1)
    (tmp_path / "0.png").with_name("3.png").write_bytes(b"never read")
    assert images.read(torch.tensor([2, 0]), Framing())[:, 0, 0, 0].tolist() == [2, 0]


def test_an_unreadable_image_is_named(tmp_path):
    good, cut, text = (tmp_path / name for name in ("good.png", "cut.png", "text.png"))
    save_image(good, noise(30, 30).numpy())
    cut.write_bytes(good.read_bytes()[:300])
    text.write_text("no image")
    for bad in (cut, text, tmp_path / "absent.png"):
        with pytest.raises(LabError, match=f"cannot read the image .*{bad.name}"):
            OnDisk([good, bad], zeros(2), 1).read(torch.arange(2), Framing())


def test_images_of_different_sizes_need_a_size(tmp_path):
    for side in (4, 6):
        save_image(tmp_path / f"{side}.png", noise(side, side).numpy())
    images = OnDisk([tmp_path / "4.png", tmp_path / "6.png"], zeros(2), 1)
    with pytest.raises(LabError, match=r"6\.png is 1 x 6 x 6, the first one 1 x 4 x 4.*size="):
        images.read(torch.arange(2), Framing())
    assert images.read(torch.arange(2), Framing(size=5)).shape == (2, 1, 5, 5)


def test_sixteen_bit_images_are_refused_rather_than_clipped(tmp_path):
    Image.fromarray(np.full((4, 4), 40_000, dtype=np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(LabError, match="more than 8 bits"):
        OnDisk([tmp_path / "deep.png"], zeros(1), 1).read(zeros(1), Framing())
