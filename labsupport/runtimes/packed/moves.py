"""Bits brought to where the products want them: packed, gathered, pooled. Compiled by numba."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit
from numba.core import types
from numba.extending import intrinsic
from numpy.typing import NDArray

Words = NDArray[np.int64]

Floats = NDArray[np.floating]
Pair = tuple[int, int]
BITS = 64  # of a word


@intrinsic  # type: ignore[untyped-decorator]
def signs_of(_context: Any, x: types.Type, start: types.Type) -> Any:  # noqa: ANN401
    """A word of the signs of 64 floats of an array from `start` on: ones where they are >= 0."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ANN401
        kind = ir.VectorType(context.get_value_type(x.dtype), BITS)
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        place = builder.bitcast(builder.gep(array.data, [arguments[1]]), kind.as_pointer())
        floats = builder.load(place, align=x.dtype.bitwidth // 8)
        zeros = ir.Constant(kind, [0.0] * BITS)
        return builder.bitcast(builder.fcmp_ordered(">=", floats, zeros), ir.IntType(BITS))

    return types.int64(x, start), generate


@njit(cache=True)
def pack_signs(x: Floats, words: Words) -> None:
    """Fill words (N, P, K) with the signs of maps (N, C, P): channel 64 k + b is bit b of word k.

    A bit is one where the float is >= 0; bits beyond the channels are zero.
    """
    images, channels, positions = x.shape
    held = np.empty(positions, np.int64)
    for image in range(images):
        for word in range(words.shape[2]):
            held[:] = 0
            for bit in range(min(BITS, channels - word * BITS)):
                plane = x[image, word * BITS + bit]
                one = np.int64(1) << np.int64(bit)
                for position in range(positions):
                    held[position] |= one if plane[position] >= 0 else np.int64(0)
            for position in range(positions):
                words[image, position, word] = held[position]


@njit(cache=True)
def pack_rows(x: Floats, words: Words) -> None:
    """`pack_signs` of rows (M, C), whose floats lie side by side, as words (M, K)."""
    rows, channels = x.shape
    flat = x.reshape(-1)
    for row in range(rows):
        for word in range(channels // BITS):
            words[row, word] = signs_of(flat, row * channels + word * BITS)
        left = np.int64(0)
        for channel in range(channels // BITS * BITS, channels):
            left |= np.int64(x[row, channel] >= 0) << np.int64(channel % BITS)
        if channels % BITS:
            words[row, channels // BITS] = left


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
