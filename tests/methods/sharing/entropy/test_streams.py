import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labsupport.methods.sharing.entropy.streams import Reader, Writer

UNHURRIED = settings(max_examples=50)
PAIRS = st.lists(st.tuples(st.booleans(), st.floats(0, 1)), max_size=300)


def written(pairs):
    writer = Writer()
    for bit, probability in pairs:
        assert writer.bit(bit, probability) == bit
    return writer


@UNHURRIED
@given(PAIRS)
def test_bits_come_back(pairs):
    reader = Reader(written(pairs).content())
    assert [reader.bit(False, probability) for _, probability in pairs] == [b for b, _ in pairs]


@UNHURRIED
@given(st.integers(0, 2**32 - 1), st.integers(1, 3000))
def test_they_take_as_many_bytes_as_they_need(seed, number):
    draw = np.random.default_rng(seed)
    probabilities = draw.beta(0.3, 0.3, number)
    writer = written(zip(draw.random(number) < probabilities, probabilities, strict=True))
    assert abs(len(writer.content()) - writer.bits() / 8) <= 8


def test_bits_are_minus_the_logarithms_of_their_probabilities():
    assert written([(True, 0.25), (False, 0.25), (True, 0.5)]).bits() == pytest.approx(3.4150375)


def test_no_bits_are_no_bytes():
    assert written([]).content() == b""


def test_a_stream_that_goes_on_after_its_end_gives_bits_or_an_error():
    reader = Reader(b"")
    for _ in range(1000):
        try:
            assert reader.bit(False, 0.3) in (True, False)
        except ValueError:
            break
