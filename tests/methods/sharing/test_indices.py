import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labsupport.methods.sharing.indices import from_entries, to_entries

# Mostly zeros, as in a pruned layer.
CODES = st.lists(st.sampled_from([0] * 12 + [1, 2, 3]), max_size=80)


def one_by_one(codes, width):
    """The same, a weight at a time."""
    skips, kept, skipped = [], [], 0
    last = max((place for place, code in enumerate(codes) if code), default=-1)
    for code in codes[: last + 1]:
        if code or skipped == 2**width - 1:
            skips.append(skipped)
            kept.append(code)
            skipped = 0
        else:
            skipped += 1
    return skips, kept


@given(codes=CODES, width=st.integers(0, 8))
def test_entries_are_those_counted_one_by_one(codes, width):
    skips, kept = to_entries(np.array(codes, dtype=np.int64), width)
    assert (skips.tolist(), kept.tolist()) == one_by_one(codes, width)
    assert from_entries(skips, kept, len(codes)).tolist() == codes


def test_the_example_of_the_paper():
    codes = np.zeros(16, dtype=np.int64)
    codes[[1, 4, 15]] = [34, 9, 17]  # figure 2, where steps are one more than skips
    skips, kept = to_entries(codes, 3)
    assert (skips + 1).tolist() == [2, 3, 8, 3]
    assert kept.tolist() == [34, 9, 0, 17]


def test_an_entry_beyond_the_layer_is_refused():
    skips, kept = to_entries(np.array([0, 0, 1]), 2)
    with pytest.raises(ValueError, match="beyond"):
        from_entries(skips, kept, 2)
