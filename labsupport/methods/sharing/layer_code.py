"""The codes of one layer as bits: where they are, what they are, and how to read both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from labsupport.methods.sharing import huffman
from labsupport.methods.sharing.bits import BitReader, Bits, Numbers, to_bits
from labsupport.methods.sharing.indices import from_entries, to_entries

WIDEST = 8  # bits of a relative index
WIDTH_BITS = 4  # say how wide the indices are
LENGTH_BITS = 3  # say how wide the lengths of the codes are


@dataclass(frozen=True)
class LayerCode:
    """Bits of a layer: tables, Huffman codes of its weights, Huffman codes of its indices.

    Tables are the width of the indices, the number of entries, and for both kinds of codes the
    length of each. Indices of width 0 are not written: every weight has an entry.
    """

    tables: Bits
    codes: Bits
    indices: Bits

    def __len__(self) -> int:
        return len(self.tables) + len(self.codes) + len(self.indices)


def encode_layer(codes: Numbers, alphabet: int) -> LayerCode:
    """The shortest code of a layer, over all widths of its indices.

    `codes` are those of its weights in a row, 0 to alphabet - 1; zero stands for a weight of zero.
    """
    return min((encode_with(codes, alphabet, width) for width in range(WIDEST + 1)), key=len)


def encode_with(codes: Numbers, alphabet: int, width: int) -> LayerCode:
    """The code of a layer whose indices have a given width."""
    skips, kept = to_entries(codes, width)
    lengths = _lengths(kept, alphabet)
    first = [
        to_bits(np.array([width]), WIDTH_BITS),
        to_bits(np.array([len(kept)]), len(codes).bit_length()),
        _table(lengths),
    ]
    written = huffman.encode(kept, lengths)
    if not width:
        return LayerCode(np.concatenate(first), written, np.zeros(0, dtype=np.uint8))
    skip_lengths = _lengths(skips, 1 << width)
    tables = np.concatenate([*first, _table(skip_lengths)])
    return LayerCode(tables, written, huffman.encode(skips, skip_lengths))


def decode_layer(
    tables: BitReader, codes: BitReader, indices: BitReader, size: int, alphabet: int
) -> Numbers:
    """The codes, `size` of them, of the layer that is next. Raises ValueError for other bits."""
    width = int(tables.numbers(1, WIDTH_BITS)[0])
    entries = int(tables.numbers(1, size.bit_length())[0]) if size else 0
    lengths = _read_table(tables, alphabet)
    skip_lengths = _read_table(tables, 1 << width) if width else None
    kept = _read_codes(codes, entries, lengths)
    if skip_lengths is None:
        skips = np.zeros(entries, dtype=np.int64)
    else:
        skips = _read_codes(indices, entries, skip_lengths)
    return from_entries(skips, kept, size)


def _lengths(symbols: Numbers, alphabet: int) -> Numbers:
    return huffman.code_lengths(np.bincount(symbols, minlength=alphabet))


def _table(lengths: Numbers) -> Bits:
    width = int(lengths.max(initial=0)).bit_length()
    return np.concatenate([to_bits(np.array([width]), LENGTH_BITS), to_bits(lengths, width)])


def _read_table(tables: BitReader, alphabet: int) -> Numbers:
    width = int(tables.numbers(1, LENGTH_BITS)[0])
    return tables.numbers(alphabet, width) if width else np.zeros(alphabet, dtype=np.int64)


def _read_codes(codes: BitReader, number: int, lengths: Numbers) -> Numbers:
    symbols, used = huffman.decode(codes.rest, number, lengths)
    codes.take(used)
    return symbols
