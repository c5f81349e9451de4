"""Whole numbers as bits: they come back, and in about as few bits as their model says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from labsupport.methods.sharing.entropy.matrices import (
    DIGITS,
    LONG,
    code_flags,
    code_matrix,
    code_whole,
)
from labsupport.methods.sharing.entropy.streams import Reader, Writer

UNHURRIED = settings(max_examples=50)
SHAPES = arrays.array_shapes(min_dims=2, max_dims=2, max_side=12)
SMALL, ANY = st.integers(-2, 2), st.integers(-(2**24), 2**24)
MATRICES = st.sampled_from([SMALL, ANY]).flatmap(
    lambda numbers: arrays.arrays(np.int64, SHAPES, elements=numbers, fill=st.just(0))
)


def written(code, given):
    writer = Writer()
    result = code(writer, given)
    assert np.array_equal(result, given)
    return writer


def read(code, writer, unknown):
    return code(Reader(writer.content()), unknown)


@UNHURRIED
@given(MATRICES)
def test_a_matrix_comes_back(matrix):
    writer = written(code_matrix, matrix)
    assert np.array_equal(read(code_matrix, writer, np.zeros_like(matrix)), matrix)


@pytest.mark.parametrize("number", [0, 1, -1, LONG, -LONG - 1, 2**30])
def test_so_does_one_of_a_single_number(number):
    matrix = np.full((5, 7), number)
    writer = written(code_matrix, matrix)
    assert np.array_equal(read(code_matrix, writer, np.zeros_like(matrix)), matrix)


@UNHURRIED
@given(st.integers(1, 2**DIGITS - 1))
def test_a_whole_number_takes_two_bits_a_digit_but_one(number):
    writer = written(code_whole, number)
    assert writer.bits() == 2 * number.bit_length() - 1
    assert read(code_whole, writer, 1) == number


def test_a_number_of_too_many_digits_is_an_error():
    with pytest.raises(ValueError, match="too large"):
        code_whole(Writer(), 2**DIGITS)


@UNHURRIED
@given(st.lists(st.booleans(), max_size=50))
def test_flags_come_back(flags):
    flags = np.array(flags, dtype=bool)
    assert np.array_equal(read(code_flags, written(code_flags, flags), ~flags), flags)


def test_what_is_alike_is_cheap():
    """As any estimate by counts: half the logarithm of their number, and little more."""
    assert written(code_flags, np.ones(1000, dtype=bool)).bits() < 1 + np.log2(1000)
    assert written(code_matrix, np.zeros((1000, 1000), np.int64)).bits() < 2 * (1 + np.log2(1000))


def drawn(chances, seed=0):
    """Ones, with a chance for each."""
    return (np.random.default_rng(seed).random(chances.shape) < chances).astype(np.int64)


def entropy(chances):
    return -(chances * np.log2(chances) + (1 - chances) * np.log2(1 - chances)).sum()


def test_numbers_drawn_alike_take_their_entropy_and_what_it_takes_to_know_rows_and_columns():
    """Half a logarithm of what was counted for each (Rissanen 1984)."""
    chances = np.full((150, 150), 0.1)
    bits = written(code_matrix, drawn(chances)).bits() - chances.size * 0.1  # without signs
    assert bits < entropy(chances) + 300 * np.log2(150) / 2


def test_rows_and_columns_of_their_own_chances_take_less_than_the_entropy_of_all():
    rows, columns = np.linspace(0.02, 1, 150)[:, None], np.linspace(1, 0.02, 150) ** 2
    chances = rows * columns / (1 + rows * columns)
    bits = written(code_matrix, drawn(chances)).bits()
    assert entropy(chances) < bits < 0.97 * entropy(np.full_like(chances, chances.mean()))


def test_numbers_side_by_side_take_less():
    apart = drawn(np.full((60, 60), 0.2))
    together = np.repeat(apart[:, ::2], 2, axis=1)
    assert written(code_matrix, together).bits() < 0.9 * written(code_matrix, apart).bits()


def test_rows_and_columns_without_numbers_cost_about_a_bit():
    inner = drawn(np.full((40, 40), 0.3))
    outer = np.zeros((80, 80), dtype=np.int64)
    outer[::2, ::2] = inner
    more = written(code_matrix, outer).bits() - written(code_matrix, inner).bits()
    assert more < 160
