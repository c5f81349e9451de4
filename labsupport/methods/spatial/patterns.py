"""Patterns: which positions of a patch of p x p are computed, and how patches tile a map.

A pattern is a whole number, its code: bit `row * p + column` is 1 where the position is computed.
The same code says of a patch of activations which of them are not zero.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from labsupport.core.errors import LabError

SIZES = (2, 3, 4)


def patterns(p: int, ones: tuple[int, int] | None = None) -> Tensor:
    """The codes of all patterns of p x p, int64 (n,); with `ones`, of so many ones (least, most).

    All ones and all zeros, which predict nothing and look at nothing, are left out: 2^(p p) - 2
    remain. Raises LabError for another size than 2, 3 or 4, and for a range without a pattern.
    """
    most = everything(p).bit_count() - 1
    least, greatest = (1, most) if ones is None else ones
    if not 1 <= least <= greatest <= most:
        problem = f"no pattern of {p} x {p} has {least} to {greatest} ones"
        raise LabError(problem, f"give a range within 1 and {most}")
    codes = range(1, everything(p))
    return torch.tensor([code for code in codes if least <= code.bit_count() <= greatest])


def everything(p: int) -> int:
    """The code of a patch whose positions are all computed.

    Raises LabError for another size than 2, 3 or 4.
    """
    if p not in SIZES:
        raise LabError(f"patches of {p} x {p}", f"choose p from {', '.join(map(str, SIZES))}")
    return int(2 ** (p * p) - 1)


def diagonal(p: int) -> int:
    """The code of the baseline, which computes the positions from the top left to the bottom right.

    Shomron and Weiser 2019, "Spatial correlation and value prediction in convolutional neural
    networks", section 3. Raises LabError as `everything` does.
    """
    everything(p)
    return int(sum(2 ** (i * p + i) for i in range(p)))


def patch_grid(height: int, width: int, p: int) -> tuple[int, int]:
    """How many rows and columns of patches tile a map; the last ones may reach beyond it."""
    return -(-height // p), -(-width // p)


def encode(maps: Tensor, p: int) -> Tensor:
    """The code of each patch of maps (..., H, W), int32 (..., rows, columns); the padding is zero.

    A position's bit is 1 where the map is not zero.
    """
    height, width = maps.shape[-2:]
    padded = pad(maps != 0, (0, -width % p, 0, -height % p))
    positions = [(row, column) for row in range(p) for column in range(p)]
    codes = torch.zeros_like(padded[..., ::p, ::p], dtype=torch.int32)
    for bit, (row, column) in enumerate(positions):
        codes |= padded[..., row::p, column::p].int() << bit
    return codes


def decode(codes: Tensor, p: int) -> Tensor:
    """Maps, bool (..., rows p, columns p), whose patches have the codes (..., rows, columns)."""
    bits = torch.arange(p * p, device=codes.device).view(p, p)
    patches = (codes[..., None, None] >> bits) & 1
    *others, rows, columns = codes.shape
    return patches.bool().transpose(-3, -2).reshape(*others, rows * p, columns * p)


def count_ones(codes: Tensor, p: int) -> Tensor:
    """How many positions of each code are 1, int64 of the same shape."""
    bits = torch.arange(p * p, device=codes.device)
    return ((codes[..., None] >> bits) & 1).sum(-1)
