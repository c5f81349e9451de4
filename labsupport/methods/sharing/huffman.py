"""Canonical Huffman codes: frequent symbols get short codes, and lengths say what the codes are."""

from __future__ import annotations

import heapq

import numpy as np

from labsupport.methods.sharing.bits import Bits, Numbers, to_bits, windows

BLOCK = 1 << 18  # symbols that are decoded together, which bounds the memory


def code_lengths(counts: Numbers) -> Numbers:
    """The length of each symbol's code by how often it occurs; 0 for one that never does.

    No code without ambiguity makes fewer bits (Huffman 1952). A lone symbol gets one bit.
    """
    lengths = np.zeros(len(counts), dtype=np.int64)
    rarest = [(int(count), symbol, [symbol]) for symbol, count in enumerate(counts) if count]
    if len(rarest) == 1:
        lengths[rarest[0][1]] = 1
    heapq.heapify(rarest)
    while len(rarest) > 1:
        (one, first, left), (other, _, right) = heapq.heappop(rarest), heapq.heappop(rarest)
        lengths[left + right] += 1
        heapq.heappush(rarest, (one + other, first, left + right))
    return lengths


def code_words(lengths: Numbers) -> Numbers:
    """The code of each symbol: counted up, shorter codes first, then smaller symbols."""
    words = np.zeros(len(lengths), dtype=np.int64)
    word, length = 0, 0
    for symbol in _in_order(lengths):
        word <<= int(lengths[symbol]) - length
        words[symbol], length = word, int(lengths[symbol])
        word += 1
    return words


def encode(symbols: Numbers, lengths: Numbers) -> Bits:
    """The codes of symbols, one behind the other."""
    return to_bits(code_words(lengths)[symbols], lengths[symbols])


def decode(bits: Bits, number: int, lengths: Numbers) -> tuple[Numbers, int]:
    """So many symbols from the start of some bits, and how many bits they took.

    Raises ValueError where bits or lengths are those of no codes.
    """
    _check(lengths)
    blocks, used = [np.zeros(0, dtype=np.int64)], 0
    for done in range(0, number, BLOCK):
        block = min(BLOCK, number - done)
        symbols, bits_of_block = _decode_block(bits[used:], block, lengths)
        blocks.append(symbols)
        used += bits_of_block
    return np.concatenate(blocks), used


def _decode_block(bits: Bits, number: int, lengths: Numbers) -> tuple[Numbers, int]:
    """As if a code began at every bit, all at once; then from code to code."""
    order, longest, words = _in_order(lengths), int(lengths.max()), code_words(lengths)
    if not len(order):
        raise ValueError("there are no codes")
    begins = words[order] << (longest - lengths[order])
    seen = windows(bits[: number * longest], longest)
    symbols = order[np.searchsorted(begins, seen, side="right") - 1]
    steps = lengths[symbols].tolist()
    starts, place = [], 0
    for _ in range(number):
        if place >= len(steps):
            raise ValueError("the codes end early")
        starts.append(place)
        place += steps[place]
    if place > len(bits):
        raise ValueError("the codes end early")
    found = symbols[starts]
    if (seen[starts] >> (longest - lengths[found]) != words[found]).any():
        raise ValueError("no code begins so")
    return found, place


def _in_order(lengths: Numbers) -> Numbers:
    """The symbols that have codes, in the order of their codes."""
    order = np.argsort(lengths, kind="stable")
    return order[lengths[order] > 0]


def _check(lengths: Numbers) -> None:
    """Raises ValueError for lengths that no Huffman code has: its codes fill all there is."""
    present = lengths[lengths > 0]
    if len(present) > 1 and sum(2.0 ** -int(length) for length in present) != 1:
        raise ValueError("the lengths of the codes do not fit")
