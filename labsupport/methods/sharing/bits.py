"""Streams of bits: numbers of any width one after another, the highest bit first."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Bits = NDArray[np.uint8]  # zeros and ones, a byte for each
Numbers = NDArray[np.int64]


def to_bits(numbers: Numbers, widths: Numbers | int) -> Bits:
    """Numbers as bits, each of them in its own width or all in the same."""
    widths = np.broadcast_to(widths, numbers.shape)
    ends = np.cumsum(widths)
    bits = np.zeros(int(widths.sum()), dtype=np.uint8)
    for left in range(int(widths.max(initial=0))):  # all numbers' last bits, those before, ...
        wide = widths > left
        bits[ends[wide] - 1 - left] = (numbers[wide] >> left) & 1
    return bits


def from_bits(bits: Bits, width: int) -> Numbers:
    """The numbers of one width that bits stand for."""
    powers = 1 << np.arange(width, dtype=np.int64)[::-1]
    return bits.reshape(-1, width).astype(np.int64) @ powers


def windows(bits: Bits, width: int) -> Numbers:
    """At each place the number that its bit and the next ones make; zeros follow the last bit."""
    padded = np.concatenate([bits, np.zeros(width, dtype=np.uint8)])
    found = np.zeros(len(bits), dtype=np.int64)
    for shift in range(width):
        found = (found << 1) | padded[shift : shift + len(bits)]
    return found


class BitReader:
    """Bits read from the first to the last."""

    def __init__(self, content: bytes) -> None:
        self.rest = np.unpackbits(np.frombuffer(content, dtype=np.uint8))

    def take(self, number: int) -> Bits:
        """The next bits. Raises ValueError where there are not so many."""
        if number > len(self.rest):
            raise ValueError("the bits end early")
        taken, self.rest = self.rest[:number], self.rest[number:]
        return taken

    def numbers(self, number: int, width: int) -> Numbers:
        """The next numbers of one width. Raises ValueError as `take` does."""
        return from_bits(self.take(number * width), width)
