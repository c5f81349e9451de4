from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labsupport.methods.sharing import huffman
from labsupport.methods.sharing.huffman import code_lengths, code_words, decode, encode

COUNTS = st.lists(st.integers(0, 1000), min_size=1, max_size=40).filter(any)


def some(counts, seed=0):
    """Symbols that occur so often, shuffled."""
    symbols = np.repeat(np.arange(len(counts)), counts)
    np.random.default_rng(seed).shuffle(symbols)
    return symbols


@given(counts=COUNTS)
def test_the_mean_length_is_within_a_bit_of_the_entropy(counts):
    counts = np.array(counts)
    lengths = code_lengths(counts)
    assert ((lengths > 0) == (counts > 0)).all()
    shares = counts[counts > 0] / counts.sum()
    entropy = -(shares * np.log2(shares)).sum()
    mean = (shares * lengths[counts > 0]).sum()
    assert entropy - 1e-9 <= mean <= entropy + 1


@given(counts=st.lists(st.integers(1, 50), min_size=2, max_size=5))
def test_no_code_is_shorter(counts):
    """Brute force: all lengths that leave every code unambiguous (Kraft's inequality)."""
    possible = [
        lengths
        for lengths in product(range(1, len(counts)), repeat=len(counts))
        if sum(2.0**-length for length in lengths) <= 1
    ]
    best = min(np.dot(counts, lengths) for lengths in possible)
    assert np.dot(counts, code_lengths(np.array(counts))) == best


@given(counts=COUNTS)
def test_no_code_begins_another(counts):
    lengths = code_lengths(np.array(counts))
    words = code_words(lengths)
    codes = sorted(f"{w:0{n}b}" for w, n in zip(words, lengths, strict=True) if n)
    assert not any(after.startswith(code) for code, after in pairwise(codes))
    in_order = sorted((int(n), s) for s, n in enumerate(lengths) if n)
    assert codes == [f"{words[s]:0{n}b}" for n, s in in_order]


@pytest.mark.parametrize("block", [3, 10_000])
@given(counts=COUNTS, behind=st.lists(st.integers(0, 1), max_size=9))
def test_symbols_come_back(counts, behind, block):
    symbols, lengths = some(counts)[:200], code_lengths(np.array(counts))
    bits = encode(symbols, lengths)
    assert len(bits) == lengths[symbols].sum()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(huffman, "BLOCK", block)
        found, used = decode(
            np.concatenate([bits, np.array(behind, dtype=np.uint8)]), len(symbols), lengths
        )
    assert (found == symbols).all()
    assert used == len(bits)


def test_rare_symbols_may_have_long_codes():
    counts = np.ones(30, dtype=np.int64)
    for place in range(2, 30):  # Fibonacci's numbers make the longest codes
        counts[place] = counts[place - 1] + counts[place - 2]
    lengths = code_lengths(counts)
    assert lengths.max() == 29
    symbols = np.arange(30)
    assert (decode(encode(symbols, lengths), 30, lengths)[0] == symbols).all()


@pytest.mark.parametrize(
    ("bits", "lengths", "reason"),
    [
        ([0, 1], [1, 2, 2], "end early"),
        ([], [1, 1], "end early"),
        ([0, 1], [0, 1], "no code begins so"),
        ([0, 1], [0, 0], "no codes"),
        ([0, 1], [1, 2], "do not fit"),
        ([0, 1], [1, 1, 1], "do not fit"),
    ],
)
def test_what_is_no_code_is_refused(bits, lengths, reason):
    with pytest.raises(ValueError, match=reason):
        decode(np.array(bits, dtype=np.uint8), 2, np.array(lengths))


def test_nothing_takes_no_bits():
    lengths = code_lengths(np.zeros(3, dtype=np.int64))
    assert not len(encode(np.zeros(0, dtype=np.int64), lengths))
    assert decode(np.zeros(0, dtype=np.uint8), 0, lengths)[1] == 0
