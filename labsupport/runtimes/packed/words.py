"""Bits of weights and of maps in the order in which the kernels read them."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from labsupport.runtimes.packed import kernel, moves
from labsupport.runtimes.packed.kernel import BITS, LANES, Words

Bits = NDArray[np.bool_]


def words_for(bits: int) -> int:
    """How many words hold so many bits."""
    return -(-bits // BITS)


def dense(weight: Tensor) -> Tensor:
    """The signs of weights as uint8 (bytes,): a bit for each, one where it is >= 0."""
    signs = (weight.detach() >= 0).cpu().numpy().reshape(-1)
    return torch.from_numpy(np.packbits(signs))


def undense(bits: Tensor, shape: tuple[int, ...]) -> Bits:
    """What `dense` was given the signs of, as truth values. Raises ValueError for other bits."""
    if len(bits) != -(-math.prod(shape) // 8):
        raise ValueError(f"{len(bits)} bytes for signs of shape {shape}")
    signs: Bits = np.unpackbits(bits.numpy(), count=math.prod(shape)).astype(bool).reshape(shape)
    return signs


def rows_of_words(signs: Bits) -> Words:
    """Signs (..., C) as words (..., K), bit b of word k the sign of channel 64 k + b."""
    padding = [(0, 0)] * (signs.ndim - 1) + [(0, -signs.shape[-1] % BITS)]
    packed = np.packbits(np.pad(signs, padding), axis=-1, bitorder="little")
    return np.ascontiguousarray(packed).view("<i8")


def interleaved(rows: Words) -> Words:
    """Words of filters (F, K) as (groups, K, 8): word by word those of eight filters.

    Filters of zeros follow the last, so that the groups' signs fill whole words.
    """
    padded = np.pad(rows, [(0, -len(rows) % BITS), (0, 0)])
    return np.ascontiguousarray(padded.reshape(-1, LANES, rows.shape[1]).transpose(0, 2, 1))


def pack_maps(x: Tensor, limits: NDArray[np.float32]) -> Tensor:
    """Maps (N, C, H, W) as words (N, H, W, K), or rows (N, C) as words (N, K).

    A bit is one where a float is at least the limit (C,) of its channel.
    """
    images, channels, *sides = x.shape
    words = np.empty((images, *sides, words_for(channels)), np.int64)
    by_position = x if x.dim() == 2 else x.movedim(1, -1)  # so channels-last maps lie in memory
    if by_position.is_contiguous():
        rows = by_position.numpy().reshape(images * math.prod(sides), channels)
        kernel.pack_rows(rows, limits, words.reshape(len(rows), words.shape[-1]))
    else:
        planes = x.contiguous().flatten(2).numpy()
        moves.pack_planes(planes, limits, words.reshape(images, planes.shape[2], words.shape[-1]))
    return torch.from_numpy(words)
