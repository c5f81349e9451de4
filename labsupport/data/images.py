"""Labeled images before normalization: in memory or as files, read on demand as uint8."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from labsupport.core.errors import LabError

CHUNK = 4096  # images resized at a time: float copies of all of them would need four times the room
UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)  # what Pillow raises
ONE_SIZE = "give size=N (in a lab: -p size=N), to which all are brought"
Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Framing:
    """How images are brought to one size.

    `size` scales the shorter side to that many pixels (bilinear, antialiased) and cuts the longer
    one about its center, so that the image is size x size; `crop` then cuts the central square.
    Raises LabError for a size below 1.
    """

    size: int | None = None
    crop: int | None = None

    def __post_init__(self) -> None:
        for name, pixels in (("size", self.size), ("crop", self.crop)):
            if pixels is not None and pixels < 1:
                raise LabError(f"{name} is {pixels}", "give a number of pixels, 1 or more")

    def shape(self, shape: Sequence[int]) -> Shape:
        """What becomes of images of `shape` (C, H, W). Raises LabError if the crop is larger."""
        channels, height, width = shape
        if self.size is not None:
            height = width = self.size
        if self.crop is None:
            return channels, height, width
        if self.crop > min(height, width):
            raise LabError(
                f"crop={self.crop} is larger than the images, which are {height} x {width}",
                f"choose a crop of at most {min(height, width)}, or a larger size",
            )
        return channels, self.crop, self.crop

    def __call__(self, images: Tensor) -> Tensor:
        """The uint8 images (N, C, H, W), resized and cropped, uint8 again."""
        self.shape(images.shape[1:])
        if self.size is not None:
            images = center_crop(_resize(images, self.size), self.size)
        return images if self.crop is None else center_crop(images, self.crop)


def _resize(images: Tensor, size: int) -> Tensor:
    """As torchvision's `resize` of the shorter side, whose import takes every kernel seconds."""
    shorter = min(images.shape[-2:])
    if shorter == size:
        return images
    target = [round(side * size / shorter) for side in images.shape[-2:]]
    chunks = [
        interpolate(chunk.float(), target, mode="bilinear", antialias=True).round_().clamp_(0, 255)
        for chunk in torch.split(images, CHUNK)
    ]
    return torch.cat([chunk.to(torch.uint8) for chunk in chunks])


def center_crop(images: Tensor, size: int) -> Tensor:
    """The central size x size pixels of images (N, C, H, W); of two middles the upper left one."""
    top, left = (images.shape[-2] - size) // 2, (images.shape[-1] - size) // 2
    return images[..., top : top + size, left : left + size]


@dataclass(frozen=True, eq=False)
class InMemory:
    """Images held as one uint8 tensor (N, C, H, W). Raises LabError if the labels do not fit."""

    pixels: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        if len(self.pixels) != len(self.labels):
            problem = f"there are {len(self.pixels):,} images but {len(self.labels):,} labels"
            raise LabError(problem, "the set is damaged or mixed from two: get it again")

    def shape(self, framing: Framing) -> Shape:
        """(C, H, W) after framing."""
        return framing.shape(self.pixels.shape[1:])

    def read(self, rows: Tensor, framing: Framing) -> Tensor:
        """The images of these rows, framed, uint8 (n, C, H, W)."""
        return framing(self.pixels.index_select(0, rows)).contiguous()


@dataclass(frozen=True, eq=False)
class OnDisk:
    """Image files, decoded when they are read, to gray (channels=1) or color (channels=3)."""

    files: Sequence[Path]
    labels: Tensor
    channels: int = 3

    def shape(self, framing: Framing) -> Shape:
        """(C, H, W) after framing, from the first file's header."""
        with _image_file(self.files[0]) as image:
            return framing.shape((self.channels, image.height, image.width))

    def read(self, rows: Tensor, framing: Framing) -> Tensor:
        """The images of these rows, framed, uint8 (n, C, H, W).

        Raises LabError for a file that cannot be read and, naming size=, for images of
        different sizes. One thread: for small images more of them are slower.
        """
        pixels = torch.empty((len(rows), *self.shape(framing)), dtype=torch.uint8)
        for position, file in enumerate(self.files[row] for row in rows.tolist()):
            image = framing(_decode(file, self.channels)[None])[0]
            if image.shape != pixels.shape[1:]:
                here, first = spelled(image.shape), spelled(pixels.shape[1:])
                problem = f"images differ in size: {file} is {here}, the first one {first}"
                raise LabError(problem, ONE_SIZE)
            pixels[position] = image
        return pixels


Images = InMemory | OnDisk  # a pool of labeled images of one shape


def spelled(shape: Sequence[int]) -> str:
    """A shape (C, H, W) for the reader."""
    return " x ".join(map(str, shape))


@contextmanager
def _image_file(file: Path) -> Iterator[Image.Image]:
    """An open image file. Raises LabError naming the file if it cannot be read."""
    try:
        with Image.open(file) as image:
            yield image
    except UNREADABLE as error:
        raise LabError(f"cannot read the image {file}: {error}", "repair or remove it") from error


def _decode(file: Path, channels: int) -> Tensor:
    """The pixels of an image file as uint8 (C, H, W), channels 1 (gray) or 3 (color)."""
    with _image_file(file) as image:
        if image.mode.startswith(("I", "F")):
            raise LabError(f"{file} has more than 8 bits per pixel", "convert the images to 8 bits")
        pixels = np.array(image.convert("L" if channels == 1 else "RGB"))
    return torch.from_numpy(pixels).reshape(*pixels.shape[:2], channels).permute(2, 0, 1)


def is_gray(file: Path) -> bool:
    """Whether an image file has no color, by its header."""
    with _image_file(file) as image:
        return image.mode in ("1", "L", "LA")


@dataclass(frozen=True)
class Raw:
    """A set as it comes: the parts that have images of their own, and the names of the classes.

    Raises LabError for an empty set or a label without a class.
    """

    train: Images
    val: Images | None
    test: Images | None
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        largest = len(self.classes) - 1
        for part, images in (("train", self.train), ("val", self.val), ("test", self.test)):
            if images is None:
                continue
            if not len(images.labels):
                problem = f"the {part} part has no images"
                raise LabError(problem, "see data/README.md for the layout")
            if len(wrong := ((images.labels < 0) | (images.labels > largest)).nonzero()):
                row, right = int(wrong[0]), f"classes are 0 to {largest}"
                label = f"label {int(images.labels[row])} of image {row + 1} in the {part} part"
                remedy = "correct it, or get the set again if it is a published one"
                raise LabError(f"{label} is out of range: {right}", remedy)
