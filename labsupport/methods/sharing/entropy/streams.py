"""Bits with a probability each, as bytes and back, by the range coder of `constriction`.

A writer takes each bit and gives it back, a reader gives the bit that was written: one function
that asks for bits with their probabilities does for both.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
from constriction import stream as coding

WORD = 4  # bytes of the coder's words
PRECISION = 1 << 16  # probabilities are whole multiples of its inverse


class Stream(Protocol):
    """A row of bits that is written or read."""

    def bit(self, given: bool, probability: float) -> bool:
        """The next bit, which is 1 with this probability; `given` counts in writing only."""


class Writer:
    """Bits that are collected to be written."""

    def __init__(self) -> None:
        self.given: list[bool] = []
        self.probabilities: list[float] = []

    def bit(self, given: bool, probability: float) -> bool:
        """The bit that is given, kept."""
        self.given.append(given)
        self.probabilities.append(_in_steps(probability))
        return given

    def bits(self) -> float:
        """What the bits need, as minus the sum of the binary logarithms of their probabilities."""
        pairs = zip(self.given, self.probabilities, strict=True)
        return -sum(math.log2(p if bit else 1 - p) for bit, p in pairs)

    def content(self) -> bytes:
        """The bits in about that many, in whole bytes, without zeros at the end."""
        encoder = coding.queue.RangeEncoder()
        symbols = np.array(self.given, dtype=np.int32)
        encoder.encode(symbols, coding.model.Bernoulli(perfect=False), np.array(self.probabilities))
        words: bytes = encoder.get_compressed().astype("<u4").tobytes()
        return words.rstrip(b"\0")


class Reader:
    """Bits that a writer has written; the coder takes zeros for what is behind the end."""

    def __init__(self, content: bytes) -> None:
        words = np.frombuffer(content + bytes(-len(content) % WORD), dtype="<u4")
        self.decoder = coding.queue.RangeDecoder(words.astype(np.uint32))

    def bit(self, given: bool, probability: float) -> bool:
        """The next bit. Raises ValueError for bytes that no writer gave."""
        model = coding.model.Bernoulli(_in_steps(probability), perfect=False)
        try:
            return bool(self.decoder.decode(model))
        except AssertionError as error:
            raise ValueError(str(error)) from None


def _in_steps(probability: float) -> float:
    """The nearest probability that is a whole multiple, neither 0 nor 1."""
    return min(max(round(probability * PRECISION), 1), PRECISION - 1) / PRECISION
