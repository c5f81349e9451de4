"""The bare loop of XOR and popcount counts what it says."""

import numpy as np

from labsupport.measure.popcount import popcount_roof
from labsupport.runtimes.packed.roof import bare_counts


def test_the_bare_loop_counts_differing_bits_each_time():
    one, other = np.random.default_rng(0).integers(-(2**63), 2**63, (2, 40), dtype=np.int64)
    differing = np.bitwise_count((one ^ other).view(np.uint64)).sum()
    assert bare_counts(one, other, 3) == 3 * differing
    assert bare_counts(np.array([-1]), np.array([0]), 1) == 64


def test_the_roof_is_a_rate():
    assert popcount_roof(rounds=1) > 0
