from __future__ import annotations

import numpy as np
import pytest
import torch
from made_images import noise, save_image

from labsupport.core.errors import LabError
from labsupport.data import load
from labsupport.data.folder import read_folder, read_imagenet, read_tiny_imagenet
from labsupport.data.images import Framing


def everything(images):
    return images.read(torch.arange(len(images.labels)), Framing())


def test_parts_classes_and_pixels(image_folder):
    raw = read_folder(image_folder(("train", "val", "test"), each=3))
    assert raw.classes == ("cat", "dog")
    for images in (raw.train, raw.val, raw.test):
        assert sorted(images.labels.tolist()) == [0, 0, 0, 1, 1, 1]
        assert everything(images).shape == (6, 3, 8, 8)
    written = {noise(3, 8, 8, 3, seed=0)[i].permute(2, 0, 1).numpy().tobytes() for i in range(3)}
    read = everything(raw.train)[raw.train.labels == 0]
    assert {image.numpy().tobytes() for image in read} == written


def test_gray_only_if_all_are_gray(image_folder):
    folder = image_folder(channels=1)
    assert load(f"folder:{folder}").input_shape == (1, 8, 8)
    save_image(folder / "test" / "cat" / "color.png", noise(8, 8, 3).numpy())
    assert load(f"folder:{folder}").input_shape == (3, 8, 8)


@pytest.mark.parametrize("parts", [("train",), ("train", "val"), ("train", "test")])
def test_a_missing_part_is_dealt_from_train(image_folder, parts):
    splits = load(f"folder:{image_folder(parts, each=20)}", val_fraction=0.25)
    sizes = {"train": len(splits.train), "val": len(splits.val), "test": len(splits.test)}
    expected = {
        ("train",): {"train": 24, "val": 8, "test": 8},
        ("train", "val"): {"train": 32, "val": 40, "test": 8},
        ("train", "test"): {"train": 30, "val": 10, "test": 40},
    }
    assert sizes == expected[parts]


def test_the_first_images_of_a_part_are_of_all_classes(image_folder):
    splits = load(f"folder:{image_folder(each=30)}")
    assert set(splits.test.take(10).y.tolist()) == {0, 1}


def test_a_class_that_validation_lacks_does_not_shift_the_others(image_folder):
    folder = image_folder(("train",))
    save_image(folder / "test" / "dog" / "one.png", noise(8, 8, 3).numpy())
    assert load(f"folder:{folder}").test.y.tolist() == [1]


def test_a_class_that_train_lacks_is_refused(image_folder):
    folder = image_folder()
    save_image(folder / "test" / "emu" / "one.png", noise(8, 8, 3).numpy())
    with pytest.raises(LabError, match="class emu, which train/ does not have"):
        read_folder(folder)


def test_folders_without_images_are_refused(tmp_path):
    with pytest.raises(LabError, match="no folder of a class"):
        read_folder(tmp_path)
    (tmp_path / "train" / "cat").mkdir(parents=True)
    (tmp_path / "train" / ".ipynb_checkpoints").mkdir()
    with pytest.raises(LabError, match=r"no valid file for the classes cat"):
        read_folder(tmp_path)
    save_image(tmp_path / "train" / "cat" / "one.png", noise(4, 4).numpy())
    assert read_folder(tmp_path).classes == ("cat",)
    (tmp_path / "test" / "cat").mkdir(parents=True)
    with pytest.raises(LabError, match="test part has no images"):
        read_folder(tmp_path)


def test_different_sizes_are_refused_by_name_of_the_knob(image_folder):
    folder = image_folder(side=8)
    for part in ("train", "test"):
        save_image(folder / part / "cat" / "large.png", noise(12, 9, 3).numpy())
    with pytest.raises(LabError, match="size="):
        load(f"folder:{folder}")
    assert load(f"folder:{folder}", size=6).input_shape == (3, 6, 6)


def test_tiny_imagenet(tmp_path):
    root = tmp_path / "tiny-imagenet-200"
    for name in ("n01", "n02"):
        for index in range(5):
            save_image(
                root / "train" / name / "images" / f"{name}_{index}.JPEG", noise(64, 64, 3).numpy()
            )
    for index in range(4):
        value = np.full((64, 64), 60 * index, dtype=np.uint8)  # some of the real ones are gray too
        save_image(root / "val" / "images" / f"val_{index}.JPEG", value)
    listing = root / "val" / "val_annotations.txt"
    listing.write_text("".join(f"val_{i}.JPEG\tn0{1 + i % 2}\t0\t0\t62\t62\n" for i in range(4)))
    splits = load("tiny_imagenet", data_dir=tmp_path)
    assert splits.classes == ("n01", "n02")
    assert (len(splits.train), len(splits.val), len(splits.test)) == (9, 1, 4)
    brightness = (splits.denormalize(splits.test.x).mean((1, 2, 3)) * 255 / 60).round().int()
    assert torch.equal(brightness % 2, splits.test.y.int())
    listing.write_text("val_0.JPEG\tn03\n")
    with pytest.raises(LabError, match="n03"):
        read_tiny_imagenet(tmp_path)
    listing.unlink()
    with pytest.raises(LabError, match=r"val_annotations\.txt"):
        read_tiny_imagenet(tmp_path)


def test_imagenet_uses_its_validation_part_as_test(image_folder, tmp_path):
    image_folder(("train", "val")).rename(tmp_path / "imagenet")
    raw = read_imagenet(tmp_path)
    assert raw.val is None
    assert len(raw.test.labels) == 12
    splits = load("imagenet", data_dir=tmp_path, size=6)
    assert splits.input_shape == (3, 6, 6)
    assert splits.classes == ("cat", "dog")
    assert len(splits.test) == 12
