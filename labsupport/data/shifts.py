"""Images moved by whole pixels: the cheapest way to more and harder examples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

from torch import Tensor
from torch.nn.functional import pad

from labsupport.core.errors import LabError
from labsupport.data.splits import Split


def shifted(x: Tensor, down: int, right: int) -> Tensor:
    """Images (N, C, H, W) moved down and right; the border pixels fill the gap.

    Raises LabError for a move as large as the image.
    """
    most = max(abs(down), abs(right))
    height, width = x.shape[-2:]
    if most >= min(height, width):
        raise LabError(f"a shift of {most} pixels on {height} x {width} images", "shift by less")
    if most == 0:
        return x
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
