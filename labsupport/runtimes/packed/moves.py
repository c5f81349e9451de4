"""Bits brought to where the products want them: packed, gathered, pooled. Compiled by numba."""

from __future__ import annotations

import numpy as np
from numba import njit

from labsupport.runtimes.packed.kernel import BITS, Floats, Words

Pair = tuple[int, int]


@njit(cache=True)
def pack_planes(x: Floats, limits: Floats, words: Words) -> None:
    """Fill words (N, P, K) with maps (N, C, P): channel 64 k + b is bit b of word k.

    A bit is one where the float is at least its channel's limit (C,); bits beyond the channels are
    zero.
    """
    images, channels, positions = x.shape
    held = np.empty(positions, np.int64)
    for image in range(images):
        for word in range(words.shape[2]):
            held[:] = 0
            for bit in range(min(BITS, channels - word * BITS)):
                channel = word * BITS + bit
                plane, limit = x[image, channel], limits[channel]
                one = np.int64(1) << np.int64(bit)
                for position in range(positions):
                    held[position] |= one if plane[position] >= limit else np.int64(0)
            for position in range(positions):
                words[image, position, word] = held[position]


@njit(cache=True)
def gather_windows(
    maps: Words, around: Words, pads: Pair, stride: Pair, dilation: Pair, rows: Words
) -> None:
    """Fill rows (N, H', W', taps, K) with the words of maps (N, H, W, K) that filters see.

    `pads` are the positions added at the top and the left; `around` (K,) is what lies outside.
    """
    images, height, width, _ = maps.shape
    _, down, across, tall, wide, _ = rows.shape
    for image in range(images):
        for i in range(down):
            for j in range(across):
                for a in range(tall):
                    for b in range(wide):
                        y = i * stride[0] + a * dilation[0] - pads[0]
                        x = j * stride[1] + b * dilation[1] - pads[1]
                        inside = 0 <= y < height and 0 <= x < width
                        source = maps[image, y, x] if inside else around
                        for k in range(len(around)):
                            rows[image, i, j, a, b, k] = source[k]


@njit(cache=True)
def pool_bits(maps: Words, pool: Pair, flips: Words, out: Words) -> None:
    """Fill (N, h, w, K): OR over windows of maps (N, H, W, K) that do not overlap, then a XOR.

    `flips` are (h w, K), or (1, K) for all positions.
    """
    images, height, width, length = out.shape
    for image in range(images):
        for i in range(height):
            for j in range(width):
                flip = flips[(i * width + j) % len(flips)]
                for k in range(length):
                    any_of = np.int64(0)
                    for a in range(pool[0]):
                        for b in range(pool[1]):
                            any_of |= maps[image, i * pool[0] + a, j * pool[1] + b, k]
                    out[image, i, j, k] = any_of ^ flip[k]
