"""The loops of the packed runtime, compiled by numba.

Each exists twice, on one thread and on several; what they do for a task is the same function. A
task are 64 filters, a word of the output, and some rows of inputs: its weights stay in the nearest
caches. Words are int64, as torch has them; in numba, uint64 and a number would give floats.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from labsupport.runtimes.packed.vectors import LANES, differing, popcount

WORD = 64
GROUPS = WORD // LANES  # vectors of filters that make a word of the output
ROWS = 64  # rows of inputs in a task

Words = NDArray[np.int64]
Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Whole = NDArray[np.int32]


@njit(cache=True)
def _chunks(rows: int) -> int:
    return (rows + ROWS - 1) // ROWS


@njit(cache=True)
def _floats_of_task(
    task: int, words: Words, weights: Words, size: int, factors: Floats, shifts: Floats, out: Floats
) -> None:
    rows, length = words.shape
    filters = out.shape[1]
    chunk = task % _chunks(rows)
    flat, filters_flat = words.reshape(-1), weights.reshape(-1)
    for group in range(task // _chunks(rows) * GROUPS, (task // _chunks(rows) + 1) * GROUPS):
        first = group * LANES
        for row in range(chunk * ROWS, min(rows, (chunk + 1) * ROWS)):
            counts = differing(filters_flat, first * length, flat, row * length, length)
            if first + LANES <= filters:
                for lane in range(LANES):
                    value = np.float32(np.int32(size - 2 * counts[lane]))
                    out[row, first + lane] = value * factors[first + lane] + shifts[first + lane]
            else:
                for lane in range(filters - first):
                    value = np.float32(np.int32(size - 2 * counts[lane]))
                    out[row, first + lane] = value * factors[first + lane] + shifts[first + lane]


@njit(cache=True)
def _bits_of_task(task: int, words: Words, weights: Words, limits: Whole, out: Bytes) -> None:
    rows, length = words.shape
    chunk = task % _chunks(rows)
    flat, filters_flat = words.reshape(-1), weights.reshape(-1)
    for group in range(task // _chunks(rows) * GROUPS, (task // _chunks(rows) + 1) * GROUPS):
        first = group * LANES
        for row in range(chunk * ROWS, min(rows, (chunk + 1) * ROWS)):
            counts = differing(filters_flat, first * length, flat, row * length, length)
            limit = limits[row % len(limits)]
            byte = 0
            for lane in range(LANES):
                byte |= (counts[lane] <= limit[first + lane]) << lane
            out[row, group] = byte


@njit(cache=True)
def floats_alone(
    words: Words, weights: Words, size: int, factors: Floats, shifts: Floats, out: Floats
) -> None:
    """Fill maps (N, F, P) with sums of signs times factors (F,) plus shifts (F,).

    `words` (N P, K) are rows of inputs, `weights` (filters / 8, K, 8) those of filters; `size` is
    how many signs there are in a row.
    """
    for task in range(_chunks(len(words)) * (len(weights) // GROUPS)):
        _floats_of_task(task, words, weights, size, factors, shifts, out)


@njit(cache=True, parallel=True)
def floats_together(
    words: Words, weights: Words, size: int, factors: Floats, shifts: Floats, out: Floats
) -> None:
    """`floats_alone` on numba's threads."""
    for task in prange(_chunks(len(words)) * (len(weights) // GROUPS)):
        _floats_of_task(task, words, weights, size, factors, shifts, out)


@njit(cache=True)
def bits_alone(words: Words, weights: Words, limits: Whole, out: Bytes) -> None:
    """Fill rows of bits (M, filters / 8): one where a row of inputs differs in few enough places.

    `limits` (P, filters) say how many are few, position by position; a single row is for all.
    """
    for task in range(_chunks(len(words)) * (len(weights) // GROUPS)):
        _bits_of_task(task, words, weights, limits, out)


@njit(cache=True, parallel=True)
def bits_together(words: Words, weights: Words, limits: Whole, out: Bytes) -> None:
    """`bits_alone` on numba's threads."""
    for task in prange(_chunks(len(words)) * (len(weights) // GROUPS)):
        _bits_of_task(task, words, weights, limits, out)


@njit(cache=True)
def bare_counts(one: Words, other: Words, times: int) -> int:
    """XOR and popcount over two vectors, again and again, and nothing else: the roof of both."""
    total = 0
    for _ in range(times):
        for i in range(len(one)):
            total += popcount(one[i] ^ other[i])
    return total
