"""Images changed at random, each in its own way, a whole batch of tensors at a time.

An augmentation is any callable that takes images (N, C, H, W) and a generator and gives back as
many images of the same shape. Nothing here loops over images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, pad

from labsupport.core.errors import LabError
from labsupport.data import Split

Augmentation = Callable[[Tensor, torch.Generator], Tensor]


@dataclass(frozen=True)
class Flip:
    """Mirrors each image, left to right, with a probability.

    Raises LabError for a probability outside [0, 1].
    """

    probability: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise LabError(f"a probability of {self.probability}", "give one from 0 to 1")

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Images (N, C, H, W), some of them mirrored."""
        draw = torch.rand(len(x), generator=generator, device=generator.device)
        flipped = (draw < self.probability).to(x.device)
        return torch.where(flipped.view(-1, 1, 1, 1), x.flip(-1), x)


@dataclass(frozen=True)
class Crop:
    """Pads each image with `padding` zeros on all sides and cuts its old size out of that.

    A normalized 0 is the mean of the training pixels. With 4, the usual augmentation of CIFAR-10
    (He et al. 2016, section 4.2). Raises LabError for a padding below 0.
    """

    padding: int = 4

    def __post_init__(self) -> None:
        _check_pixels(self.padding)

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Images (N, C, H, W), each cut out at a place of its own."""
        return _cut_out(pad(x, (self.padding,) * 4), self.padding, generator)


@dataclass(frozen=True)
class Shift:
    """Moves each image by up to `pixels` in both directions; its border pixels fill the gap.

    Raises LabError for fewer than 0 pixels and, when called, for as many as the image has.
    """

    pixels: int = 1

    def __post_init__(self) -> None:
        _check_pixels(self.pixels)

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Images (N, C, H, W), each moved by one of the shifts in `shifts(pixels)`."""
        _check_shift(x, self.pixels)
        return _cut_out(pad(x, (self.pixels,) * 4, mode="replicate"), self.pixels, generator)


@dataclass(frozen=True)
class Affine:
    """Turns each image by up to `degrees`, and resizes it by a share of up to `scale`.

    About its center, either way with equal chance; border pixels fill what is bared.
    Raises LabError for a number below 0, and for more than half a turn.
    """

    degrees: float = 10.0
    scale: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.degrees <= 180 or not 0 <= self.scale < math.inf:
            problem = f"turning by {self.degrees} degrees, resizing by {self.scale}"
            raise LabError(problem, "give 0 to 180 degrees, and a share from 0")

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Images (N, C, H, W), each turned and resized by numbers of its own."""
        draw = torch.rand(2, len(x), generator=generator, device=generator.device).to(x.device)
        angle, size = 2 * draw - 1
        angle, size = angle * math.radians(self.degrees), (1 + self.scale) ** size
        cosine, sine = angle.cos() / size, angle.sin() / size
        squeeze = x.shape[-2] / x.shape[-1]  # a grid counts both sides as 2 long
        none = torch.zeros_like(angle)
        across = torch.stack([cosine, -sine * squeeze, none], 1)
        down = torch.stack([sine / squeeze, cosine, none], 1)
        grid = affine_grid(torch.stack([across, down], 1), list(x.shape), align_corners=False)
        return grid_sample(x, grid, padding_mode="border", align_corners=False)


def shifted(x: Tensor, down: int, right: int) -> Tensor:
    """Images (N, C, H, W) moved down and right; the border pixels fill the gap.

    Raises LabError for a move as large as the image.
    """
    most = max(abs(down), abs(right))
    _check_shift(x, most)
    if most == 0:
        return x
    height, width = x.shape[-2:]
    padded = pad(x, (most, most, most, most), mode="replicate")
    return padded[..., most - down : most - down + height, most - right : most - right + width]


def shifts(most: int) -> list[tuple[int, int]]:
    """All (down, right) of up to `most` pixels, (0, 0) included: (2 most + 1)^2 of them.

    Raises LabError below 0.
    """
    if most < 0:
        raise LabError(f"a shift of {most} pixels", "shift by 0 or more")
    steps = range(-most, most + 1)
    return list(product(steps, steps))


def with_shifts(split: Split, most: int) -> Iterator[Split]:
    """A split once per shift in `shifts(most)`, else unchanged, each made when asked for."""
    for shift in shifts(most):
        yield replace(split, x=shifted(split.x, *shift))


def _check_pixels(pixels: int) -> None:
    if pixels < 0:
        raise LabError(f"{pixels} pixels", "give 0 or more")


def _check_shift(x: Tensor, pixels: int) -> None:
    height, width = x.shape[-2:]
    if pixels >= min(height, width):
        problem = f"a shift of {pixels} pixels on {height} x {width} images"
        raise LabError(problem, "shift by less")


def _cut_out(padded: Tensor, padding: int, generator: torch.Generator) -> Tensor:
    """From each padded image, a window of the size before padding, at a place of its own."""
    images, _, height, width = padded.shape
    places = (2, images)
    draw = torch.randint(2 * padding + 1, places, generator=generator, device=generator.device)
    top, left = draw.to(padded.device)
    # A view that holds all windows, (N, C, 2 padding + 1, 2 padding + 1, H, W), copies nothing.
    windows = padded.unfold(2, height - 2 * padding, 1).unfold(3, width - 2 * padding, 1)
    return windows[torch.arange(images, device=padded.device), :, top, left]
