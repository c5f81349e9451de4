"""Which image goes where: a set is dealt into its training, validation and test parts."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from labsupport.core.errors import LabError
from labsupport.data.images import ONE_SIZE, Framing, Images, Raw, Shape, spelled

TEST_FRACTION = 0.2  # of a set without a test part of its own
TEST_SEED = 0  # fixed, so that the test part is the same for every seed


class Subset(NamedTuple):
    """Some rows of a pool of images: one part of a set before it is read."""

    images: Images
    rows: Tensor

    @property
    def labels(self) -> Tensor:
        """The class of each row, int64 (n,)."""
        return self.images.labels[self.rows]

    def read(self, framing: Framing) -> Tensor:
        """The images, uint8 (n, C, H, W)."""
        return self.images.read(self.rows, framing)


class Partition(NamedTuple):
    """The three parts of a set before they are read."""

    train: Subset
    val: Subset
    test: Subset

    def image_shape(self, framing: Framing) -> Shape:
        """(C, H, W) of all images. Raises LabError if the parts differ in it."""
        train, *_ = shapes = [part.images.shape(framing) for part in self]
        for name, shape in zip(self._fields, shapes, strict=True):
            if shape != train:
                problem = f"the {name} images are {spelled(shape)}, those of train {spelled(train)}"
                raise LabError(problem, ONE_SIZE)
        return train


def partition(raw: Raw, seed: int, val_fraction: float, max_train: int | None = None) -> Partition:
    """Deal a set into its three parts, by chance and without regard to the classes.

    A missing test part is a fifth of train, dealt with a fixed seed: it is the same for every
    `seed`. A missing validation part is `val_fraction` of what is left. `max_train` keeps that
    many training images. Raises LabError for a fraction outside (0, 1) or too few images.
    """
    if not 0 < val_fraction < 1:
        raise LabError(f"val_fraction is {val_fraction}", "choose a fraction between 0 and 1")
    if max_train is not None and max_train < 1:
        raise LabError(f"max_train is {max_train}", "choose 1 or more, or leave it out")
    rows = torch.arange(len(raw.train.labels))
    test, rows = _part(raw, raw.test, rows, TEST_FRACTION, TEST_SEED)
    val, rows = _part(raw, raw.val, rows, val_fraction, seed)
    return Partition(Subset(raw.train, _shuffle(rows, seed)[:max_train]), val, test)


def _part(
    raw: Raw, images: Images | None, rows: Tensor, fraction: float, seed: int
) -> tuple[Subset, Tensor]:
    """A part, its own images or a fraction of the training rows, and the rows left: one or more."""
    if images is not None:
        return Subset(images, torch.arange(len(images.labels))), rows
    if len(rows) < 2:
        raise LabError("there are too few images to split", "bring at least three")
    count = min(max(1, round(fraction * len(rows))), len(rows) - 1)
    order = _shuffle(rows, seed)
    return Subset(raw.train, order[:count]), order[count:]


def _shuffle(rows: Tensor, seed: int) -> Tensor:
    return rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))]
