"""Relative indices: where the weights other than zero stand, as the zeros skipped before each.

Han et al. 2016, "Deep compression", figure 2. A skip has a width of some bits. Where more zeros lie
between two weights than it can say, a filler stands among them: an entry whose weight is zero.
"""

from __future__ import annotations

import numpy as np

from labsupport.methods.sharing.bits import Numbers


def to_entries(codes: Numbers, width: int) -> tuple[Numbers, Numbers]:
    """The skip before each entry, 0 to 2^width - 1, and its code, which is 0 for a filler.

    Zeros after the last other code have no entries. With a width of 0 each zero before it has one.
    """
    places = np.flatnonzero(codes)
    gaps = np.diff(places, prepend=-1) - 1
    ends = np.cumsum((gaps >> width) + 1) - 1  # of each gap, behind its fillers
    number = int(ends[-1]) + 1 if len(ends) else 0
    skips = np.full(number, (1 << width) - 1, dtype=np.int64)
    skips[ends] = gaps & ((1 << width) - 1)
    kept = np.zeros(number, dtype=np.int64)
    kept[ends] = codes[places]
    return skips, kept


def from_entries(skips: Numbers, kept: Numbers, size: int) -> Numbers:
    """The codes, `size` of them, that entries stand for. Raises ValueError for entries beyond."""
    places = np.cumsum(skips + 1) - 1
    if len(places) and places[-1] >= size:
        raise ValueError("an index points beyond the layer")
    codes = np.zeros(size, dtype=np.int64)
    codes[places] = kept
    return codes
