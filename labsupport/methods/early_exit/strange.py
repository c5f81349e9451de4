"""Images unlike those that set the margins: changed ones, and ones that belong to no class."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

CANVAS = 28  # pixels of a side on which clothes are drawn


def changed(images: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    """Images (N, C, H, W) in [0, 1] in six ways harder to read; their classes stay what they are.

    `generator` draws the noise. Squares and shifts are those of digits on 28 x 28 pixels.
    """
    height, width = images.shape[2:]
    hole = images.clone()
    hole[..., height // 3 : height // 2 + 2, width // 3 : width // 2 + 2] = 0
    noise = torch.rand(images.shape, generator=generator)
    kinds = {
        "noise added": images + 0.6 * (noise - 0.5),
        "blurred": avg_pool2d(images, 3, 1, 1),
        "faint": 0.4 * images,
        "a hole": hole,
        "moved by 3 pixels": images.roll((3, 3), (2, 3)),
        "inverted": 1 - images,
    }
    return {name: kind.clamp(0, 1) for name, kind in kinds.items()}


def foreign(images: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    """As many images of four kinds that belong to no class, of the same shape, in [0, 1]."""
    n, _, height, width = images.shape
    order = torch.randperm(height * width, generator=generator)
    clothes = _clothes(n, generator)
    return {
        "clothes": interpolate(clothes, (height, width), mode="bilinear").expand_as(images),
        "noise alone": torch.rand(images.shape, generator=generator),
        "pixels shuffled": images.flatten(2)[..., order].view_as(images),
        "gray": torch.rand(n, 1, 1, 1, generator=generator).expand_as(images),
    }


def _clothes(n: int, generator: torch.Generator) -> Tensor:
    """Crude shirts, trousers and bags (N, 1, 28, 28), each cut a little differently."""
    images = torch.zeros(n, 1, CANVAS, CANVAS)
    cuts = torch.randint(-2, 3, (n, 4), generator=generator).tolist()
    for i, cut in enumerate(cuts):
        (_shirt, _trousers, _bag)[i % 3](images[i, 0], *cut)
    return images


def _shirt(image: Tensor, a: int, b: int, c: int, _: int) -> None:
    image[4:24, 9 + a : 19 + b] = 0.8  # body
    image[5 : 11 + c, 3:25] = 0.6  # sleeves


def _trousers(image: Tensor, a: int, b: int, _c: int, _d: int) -> None:
    image[3:9, 8:20] = 0.9  # waist
    image[9:25, 8 : 12 + a] = image[9:25, 16 + b : 20] = 0.8  # legs


def _bag(image: Tensor, a: int, b: int, c: int, d: int) -> None:
    image[6:13, 9 + a : 19 + c] = 0.5  # handle
    image[8:13, 11 + a : 17 + c] = 0.0
    image[13:25, 4 + b : 24 + d] = 0.7  # body
