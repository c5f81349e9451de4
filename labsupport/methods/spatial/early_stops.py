"""Sums that stop early, counted by numba: this module alone needs it, so it is imported late."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Whole = NDArray[np.integer]


@njit
def count_macs(
    patches: Floats, sums: Floats, weights: Floats, order: Whole, heads: Whole, done: Whole
) -> None:
    """How many MACs each sum takes that stops once it is not positive, written to `done` (N, F, L).

    `patches` (N, groups K, L) are what the positions read, `weights` (F, K) are multiplied in the
    `order` (F, K) of their filter. The first `heads` (F,) of them are done in any case and lie in
    `sums` (N, F, L), which are used up; all others take off something, or nothing.
    """
    inputs = weights.shape[1]
    filters_of_a_group = len(weights) // (patches.shape[1] // inputs)
    for image in range(len(sums)):
        for kernel in range(len(weights)):
            total, count = sums[image, kernel], done[image, kernel]
            first = kernel // filters_of_a_group * inputs
            count[:] = heads[kernel]
            for which in order[kernel, heads[kernel] :]:
                weight, values = weights[kernel, which], patches[image, first + which]
                running = np.int32(0)
                for i in range(len(total)):
                    going = np.int32(total[i] > 0)
                    count[i] += going
                    running += going
                    total[i] += weight * values[i]
                if running == 0:
                    break
