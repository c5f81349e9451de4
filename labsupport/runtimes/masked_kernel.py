"""The loops of a masked convolution, compiled by numba: a map of one image on one thread."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Whole = NDArray[np.integer]
T = TypeVar("T")
Four = tuple[T, T, T, T]
# Sums in any order, as the vector registers take them; NaN and infinity stay what they are.
ANY_ORDER = {"reassoc", "nsz", "contract"}


@njit
def masked_map(
    x: Floats,
    weight: Floats,
    starts: Whole,
    tables: Whole,
    ends: Whole,
    table_of: Whole,
    out: Floats,
) -> None:
    """Finish the map `out` (F, L), which holds what is added to the sums: biases at least.

    The padded image `x` is flat: rows of pixels of channels. Position l reads as many rows of it,
    from `starts` (L, rows) on, as each filter of `weight` (F, rows, numbers of a row) has. Filter f
    has the patches `tables[table_of[f]]` (patches, p p): places in the map, of which `ends`
    (tables, patches, 2) tells how many are always computed, and how many there are.
    """
    chosen = np.empty(tables[0].size + 4, np.int64)
    for kernel in range(len(weight)):
        patches, end, own = tables[table_of[kernel]], ends[table_of[kernel]], out[kernel]
        count = _always(patches, end, chosen)
        _rectified_sums(x, weight[kernel], starts, chosen, count, own)
        count = _where_not_zero(patches, end, own, chosen)
        _rectified_sums(x, weight[kernel], starts, chosen, count, own)


@njit
def _always(patches: Whole, ends: Whole, chosen: Whole) -> int:
    """Choose the places that are computed in any case; how many."""
    count = 0
    for patch in range(len(patches)):
        for i in range(ends[patch, 0]):
            chosen[count] = patches[patch, i]
            count += 1
    return count


@njit
def _where_not_zero(patches: Whole, ends: Whole, own: Floats, chosen: Whole) -> int:
    """Choose all other places of patches with something in `own`; how many. The rest are zero."""
    count = 0
    for patch in range(len(patches)):
        ones, inside = ends[patch]
        lives = False
        for i in range(ones):
            lives |= own[patches[patch, i]] != 0
        for i in range(ones, inside):
            if lives:
                chosen[count] = patches[patch, i]
                count += 1
            else:
                own[patches[patch, i]] = 0
    return count


@njit
def _rectified_sums(
    x: Floats, weight: Floats, starts: Whole, chosen: Whole, count: int, own: Floats
) -> None:
    """Compute the chosen places of a filter's map: four at once, the last ones maybe twice."""
    if count == 0:
        return
    chosen[count : count + 3] = chosen[count - 1]
    for i in range(0, count, 4):
        a, b, c, d = chosen[i], chosen[i + 1], chosen[i + 2], chosen[i + 3]
        sums = own[a], own[b], own[c], own[d]
        for row in range(len(weight)):
            length = weight.shape[1]
            inputs = (
                x[starts[a, row] :][:length],
                x[starts[b, row] :][:length],
                x[starts[c, row] :][:length],
                x[starts[d, row] :][:length],
            )
            sums = _four_sums(weight[row], inputs, sums)
        for place, value in zip((a, b, c, d), sums):  # noqa: B905  (numba knows no strict)
            own[place] = 0 if value < 0 else value


@njit(fastmath=ANY_ORDER)
def _four_sums(weight: Floats, inputs: Four[Floats], sums: Four[float]) -> Four[float]:
    """Sums over the products of a row of weights with four rows of inputs, added to `sums`."""
    a, b, c, d = inputs
    at_a, at_b, at_c, at_d = sums
    for i in range(len(weight)):
        at_a += weight[i] * a[i]
        at_b += weight[i] * b[i]
        at_c += weight[i] * c[i]
        at_d += weight[i] * d[i]
    return at_a, at_b, at_c, at_d
