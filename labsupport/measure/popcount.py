"""What a machine reaches at its best in products of signs: XOR, popcount, and nothing else."""

from __future__ import annotations

from functools import partial

import numpy as np

from labsupport.measure.latency import clock_calls
from labsupport.runtimes.packed.kernel import BITS
from labsupport.runtimes.packed.roof import bare_counts

WORDS = 512  # two vectors of them fit in the nearest cache
TIMES = 2000


def popcount_roof(*, rounds: int = 5) -> float:
    """10^9 binary operations a second of a bare loop on one thread; the best call counts.

    The loop is what a compiler makes of `total += popcount(a[i] ^ b[i])`. Carry-save adders need
    fewer instructions, so that a product may lie above this roof.
    """
    generator = np.random.default_rng(0)
    one, other = generator.integers(-(2**63), 2**63, (2, WORDS), dtype=np.int64)
    call = partial(bare_counts, one, other, TIMES)
    clocked = clock_calls({"bare": call}, rounds=rounds, repeats=5)
    best = clocked.samples.query("name == 'bare'")["ns"].min()
    return float(WORDS * BITS * TIMES / best)
