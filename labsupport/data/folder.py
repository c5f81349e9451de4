"""Folders of images, one folder per class: the user's own, Tiny ImageNet, ImageNet."""

from __future__ import annotations

from pathlib import Path

import torch

from labsupport.core.errors import LabError, summarize
from labsupport.data.images import OnDisk, Raw, is_gray

LAYOUT = "lay images as train/CLASS/image.png and val/ or test/ alike (data/README.md)"
Sample = tuple[Path, int]


def read_folder(root: Path) -> Raw:
    """Any folder with train/CLASS/ and val/CLASS/ or test/CLASS/ or both.

    Gray if all images are gray. Raises LabError for another layout or a folder without images.
    """
    classes = _class_names(root / "train")
    folders = {part: root / part for part in ("train", "val", "test") if (root / part).is_dir()}
    found = {part: _samples(folder, classes) for part, folder in folders.items()}
    gray = all(is_gray(file) for samples in found.values() for file, _ in samples)
    pools = {part: _on_disk(samples, 1 if gray else 3) for part, samples in found.items()}
    return Raw(pools["train"], pools.get("val"), pools.get("test"), classes)


def read_imagenet(folder: Path) -> Raw:
    """ImageNet: train/CLASS/, val/CLASS/. The labeled val part is our test part."""
    root = folder / "imagenet"
    classes = _class_names(root / "train")
    train, test = (_on_disk(_samples(root / part, classes)) for part in ("train", "val"))
    return Raw(train, None, test, classes)


def read_tiny_imagenet(folder: Path) -> Raw:
    """Tiny ImageNet: train/CLASS/images/, val/images/ with val_annotations.txt, our test part."""
    root = folder / "tiny-imagenet-200"
    classes = _class_names(root / "train")
    train, test = _samples(root / "train", classes), _annotated(root / "val", classes)
    return Raw(_on_disk(train), None, _on_disk(test), classes)


def _class_names(folder: Path) -> tuple[str, ...]:
    """The names of the classes, sorted. Raises LabError if there are none.

    Torchvision's `find_classes` would take hidden folders such as .ipynb_checkpoints for classes.
    """
    paths = folder.iterdir() if folder.is_dir() else []
    found = sorted(path.name for path in paths if path.is_dir() and path.name[0] != ".")
    if not found:
        raise LabError(f"there is no folder of a class in {folder}", LAYOUT)
    return tuple(found)


def _samples(folder: Path, classes: tuple[str, ...]) -> list[Sample]:
    """All images of a part with their classes, counted in the order of the training part's."""
    from torchvision.datasets.folder import IMG_EXTENSIONS, make_dataset  # takes seconds

    unknown = sorted(set(_class_names(folder)) - set(classes))
    if unknown:
        raise LabError(f"{folder} has the class {unknown[0]}, which train/ does not have", LAYOUT)
    numbers = {name: number for number, name in enumerate(classes)}
    partial = folder.name != "train"  # a small validation part may lack a class
    try:
        found = make_dataset(folder, numbers, IMG_EXTENSIONS, allow_empty=partial)
    except OSError as error:
        raise LabError(f"{folder}: {error}", LAYOUT) from error
    return [(Path(path), number) for path, number in found]


def _annotated(folder: Path, classes: tuple[str, ...]) -> list[Sample]:
    """The images that val_annotations.txt lists: file, class and box, separated by tabs."""
    listing = folder / "val_annotations.txt"
    numbers = {name: number for number, name in enumerate(classes)}
    try:
        rows = [line.split("\t") for line in listing.read_text("utf-8").splitlines() if line]
        return [(folder / "images" / row[0], numbers[row[1]]) for row in rows]
    except (OSError, IndexError, KeyError, UnicodeDecodeError) as error:
        problem = f"cannot read {listing}: {summarize(error)}"
        raise LabError(problem, "get the set again") from error


def _on_disk(samples: list[Sample], channels: int = 3) -> OnDisk:
    """The samples in an order that is mixed but always the same.

    So the first n of a part are of all classes, although they lie class by class.
    """
    order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(0)).tolist()
    labels = torch.tensor([samples[row][1] for row in order], dtype=torch.int64)
    return OnDisk([samples[row][0] for row in order], labels, channels)
