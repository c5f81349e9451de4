import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labsupport.methods.sharing.bits import BitReader
from labsupport.methods.sharing.layer_code import WIDEST, decode_layer, encode_layer, encode_with


def packed(*layers):
    return [
        BitReader(np.packbits(np.concatenate([getattr(layer, kind) for layer in layers])).tobytes())
        for kind in ("tables", "codes", "indices")
    ]


def drawn(size, kept, alphabet, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(1, alphabet, size) * (rng.random(size) < kept)


@given(
    size=st.integers(0, 300),
    kept=st.floats(0, 1),
    alphabet=st.integers(2, 257),
    width=st.integers(0, WIDEST),
)
def test_layers_come_back_one_after_another(size, kept, alphabet, width):
    codes, other = drawn(size, kept, alphabet), drawn(20, 0.5, 4)
    readers = packed(encode_with(codes, alphabet, width), encode_layer(other, 4))
    assert (decode_layer(*readers, size, alphabet) == codes).all()
    assert (decode_layer(*readers, 20, 4) == other).all()


@settings(max_examples=20)
@given(size=st.integers(0, 300), kept=st.floats(0, 1), alphabet=st.integers(2, 33))
def test_the_width_is_the_best(size, kept, alphabet):
    codes = drawn(size, kept, alphabet)
    shortest = min(len(encode_with(codes, alphabet, width)) for width in range(WIDEST + 1))
    assert len(encode_layer(codes, alphabet)) == shortest


def test_codes_without_zeros_need_no_indices():
    layer = encode_layer(drawn(1000, 1, 5), 5)
    assert not len(layer.indices)
    assert len(layer.codes) == pytest.approx(2000, rel=0.02)


def test_a_pruned_layer_takes_few_bits():
    """An eighth of the weights, of 16 values: the entropy is near a bit per weight."""
    size, kept = 50_000, 1 / 8
    entropy = -(kept * np.log2(kept) + (1 - kept) * np.log2(1 - kept)) + kept * 4
    bits = len(encode_layer(drawn(size, kept, 17), 17))
    assert entropy * size * 0.99 < bits < entropy * size * 1.05
