import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labsupport.methods.sharing.bits import BitReader, from_bits, to_bits, windows

NUMBERS = st.lists(
    st.integers(1, 20).flatmap(lambda w: st.tuples(st.integers(0, 2**w - 1), st.just(w)))
)


@given(pairs=NUMBERS)
def test_bits_are_those_of_the_numbers(pairs):
    numbers, widths = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    text = "".join(f"{number:0{width}b}" for number, width in pairs)
    assert "".join(map(str, to_bits(numbers, widths))) == text


@given(numbers=st.lists(st.integers(0, 31)), offset=st.integers(0, 9))
def test_numbers_come_back_from_the_bytes(numbers, offset):
    numbers = np.array(numbers, dtype=np.int64)
    bits = np.concatenate([np.ones(offset, dtype=np.uint8), to_bits(numbers, 5)])
    reader = BitReader(np.packbits(bits).tobytes())
    reader.take(offset)
    assert (reader.numbers(len(numbers), 5) == numbers).all()
    with pytest.raises(ValueError, match="end early"):
        reader.take(8)


def test_windows_begin_at_every_bit():
    bits = np.array([1, 0, 1, 1], dtype=np.uint8)
    assert windows(bits, 3).tolist() == [0b101, 0b011, 0b110, 0b100]
    assert from_bits(bits, 2).tolist() == [0b10, 0b11]
