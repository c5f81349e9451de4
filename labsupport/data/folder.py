"""Folders of images, one folder per class: the user's own, Tiny ImageNet, ImageNet."""

from __future__ import annotations

from pathlib import Path

import torch

from labsupport.core.errors import LabError
from labsupport.data.images import OnDisk, Raw, is_gray

LAYOUT = "lay images as train/CLASS/image.png and val/ or test/ alike (data/README.md)"
Sample = tuple[Path, int]


def read_folder(root: Path) -> Raw:
    """Any folder with train/CLASS/ and val/CLASS/ or test/CLASS/ or both.

    Gray if all images are gray. Raises LabError for another layout or a folder without images.
    """
    classes = class_folders(root / "train")
    parts = {
        part: samples(root / part, classes)
        for part in ("train", "val", "test")
        if (root / part).is_dir()
    }
    files = [file for part in parts.values() for file, _ in part]
    channels = 1 if all(is_gray(file) for file in files) else 3
    pools = {part: on_disk(found, channels) for part, found in parts.items()}
    return Raw(pools["train"], pools.get("val"), pools.get("test"), classes)


def read_imagenet(root: Path) -> Raw:
    """ImageNet: train/CLASS/, val/CLASS/. The labeled val part is our test part."""
    classes = class_folders(root / "train")
    train, test = (on_disk(samples(root / part, classes), 3) for part in ("train", "val"))
    return Raw(train, None, test, classes)


def read_tiny_imagenet(root: Path) -> Raw:
    """Tiny ImageNet: train/CLASS/images/, val/images/ with val_annotations.txt, our test part."""
    classes = class_folders(root / "train")
    train = on_disk(samples(root / "train", classes), 3)
    return Raw(train, None, on_disk(annotated(root / "val", classes), 3), classes)


def class_folders(folder: Path) -> tuple[str, ...]:
    """The names of the classes, sorted. Raises LabError if there are none."""
    paths = folder.iterdir() if folder.is_dir() else []
    found = sorted(path.name for path in paths if path.is_dir() and path.name[0] != ".")
    if not found:
        raise LabError(f"there is no folder of a class in {folder}", LAYOUT)
    return tuple(found)


def samples(folder: Path, classes: tuple[str, ...]) -> list[Sample]:
    """All images of a part with their classes, counted in the order of the training part's.

    Raises LabError for a class that train/ does not have, and for a part or a class of train/
    without images.
    """
    from torchvision.datasets.folder import IMG_EXTENSIONS, make_dataset  # takes seconds

    unknown = sorted(set(class_folders(folder)) - set(classes))
    if unknown:
        raise LabError(f"{folder} has the class {unknown[0]}, which train/ has not", LAYOUT)
    numbers = {name: number for number, name in enumerate(classes)}
    partial = folder.name != "train"  # a small validation part may lack a class
    try:
        found = make_dataset(folder, numbers, IMG_EXTENSIONS, allow_empty=partial)
    except OSError as error:
        raise LabError(f"{folder}: {error}", LAYOUT) from error
    return [(Path(path), number) for path, number in found]


def annotated(folder: Path, classes: tuple[str, ...]) -> list[Sample]:
    """The images that val_annotations.txt lists: file, class, box, parted by tabs.

    Raises LabError if the list is absent or names an unknown class.
    """
    listing = folder / "val_annotations.txt"
    numbers = {name: number for number, name in enumerate(classes)}
    try:
        rows = [line.split("\t") for line in listing.read_text("utf-8").splitlines() if line]
        return [(folder / "images" / row[0], numbers[row[1]]) for row in rows]
    except OSError as error:
        raise LabError(f"cannot read {listing}: {error.strerror}", "get the set again") from error
    except (IndexError, KeyError, UnicodeDecodeError) as error:
        problem = f"{listing} has a line without a known class: {error}"
        raise LabError(problem, "get the set again") from error


def on_disk(found: list[Sample], channels: int) -> OnDisk:
    """The samples in an order that is mixed but always the same.

    So the first n of a part are of all classes, although they lie class by class.
    """
    order = torch.randperm(len(found), generator=torch.Generator().manual_seed(0)).tolist()
    labels = torch.tensor([found[row][1] for row in order], dtype=torch.int64)
    return OnDisk([found[row][0] for row in order], labels, channels)
