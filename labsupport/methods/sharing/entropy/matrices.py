"""Matrices of whole numbers, mostly zeros, as bits whose probabilities follow what came before.

Which rows and columns have numbers at all, then these numbers: is it zero, its sign, its magnitude
one by one, a long one by its binary digits (the binarization of Wiedemann et al. 2020, "DeepCABAC",
section III). The odds that a number is other than zero are those of its row times those of its
column, divided by those of all, each as counted so far: the model by which training lowers the
rate. They are corrected by how often such an estimate held so far after a zero, and after another
number. There is no table: all counting is by the four operations of arithmetic, which give the same
double on every machine.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from labsupport.methods.sharing.entropy.streams import Stream

Matrix = NDArray[np.int64]
Flags = NDArray[np.bool_]
LONG = 12  # from this magnitude on, binary digits
DIGITS = 40  # most of them
PRIOR = 8.0  # so many numbers of its own tell as much of a row as all others do


class Frequency:
    """How often a bit was 1 so far, with half of one seen before the first."""

    def __init__(self) -> None:
        self.ones, self.all = 0.5, 1.0

    def code(self, stream: Stream, given: bool) -> bool:
        """The next bit of a stream, with the probability that it has by now."""
        bit = stream.bit(given, self.ones / self.all)
        self.count(bit)
        return bit

    def count(self, bit: bool) -> None:
        """Take notice of a bit."""
        self.ones += bit
        self.all += 1


class Zeros:
    """Which numbers of a matrix are other than zero: odds by row, column and the number before."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.ones = [[0.0] * side for side in shape]
        self.all = [[0.0] * side for side in shape]
        self.total = Frequency()
        self.seen, self.expected = [PRIOR, PRIOR], [PRIOR, PRIOR]
        self.last = False

    def code(self, stream: Stream, given: bool, place: tuple[int, int]) -> bool:
        """Whether the number at a place is other than zero; places come row by row."""
        first = self.odds(place)
        odds = first * self.seen[self.last] / self.expected[self.last]
        bit = stream.bit(given, odds / (1 + odds))
        self.seen[self.last] += bit
        self.expected[self.last] += first / (1 + first)
        self.count(bit, place)
        return bit

    def odds(self, place: tuple[int, int]) -> float:
        """Those of the row times those of the column, divided by those of all."""
        mean = self.total.ones / self.total.all
        odds = (1 - mean) / mean
        for side, at in enumerate(place):
            share = (self.ones[side][at] + PRIOR * mean) / (self.all[side][at] + PRIOR)
            odds *= share / (1 - share)
        return odds

    def count(self, bit: bool, place: tuple[int, int]) -> None:
        """Take notice of a bit."""
        for side, at in enumerate(place):
            self.ones[side][at] += bit
            self.all[side][at] += 1
        self.total.count(bit)
        self.last = bit


class Magnitudes:
    """Signs and magnitudes of numbers other than zero."""

    def __init__(self) -> None:
        self.sign = Frequency()
        self.more = [Frequency() for _ in range(LONG)]

    def code(self, stream: Stream, given: int) -> int:
        """The next number."""
        sign = -1 if self.sign.code(stream, given < 0) else 1
        size = abs(given)
        for one, more in enumerate(self.more, start=1):
            if not more.code(stream, size > one):
                return sign * one
        return sign * (LONG + code_whole(stream, size - LONG))


def code_whole(stream: Stream, given: int) -> int:
    """A whole number from 1 on, by the number of its digits and the digits (Elias 1975, gamma).

    Raises ValueError for one of more than `DIGITS`.
    """
    digits = 1
    while stream.bit(given.bit_length() > digits, 0.5):
        digits += 1
        if digits > DIGITS:
            raise ValueError("a number is too large")
    number = 1
    for at in reversed(range(digits - 1)):
        number = 2 * number + stream.bit(bool(given >> at & 1), 0.5)
    return number


def code_flags(stream: Stream, given: Flags) -> Flags:
    """Flags in a row, each with the probability that it has after one like the last."""
    after = (Frequency(), Frequency())
    flags, last = np.zeros_like(given), False
    for at, flag in enumerate(given.tolist()):
        flags[at] = last = after[last].code(stream, flag)
    return flags


def code_matrix(stream: Stream, given: Matrix) -> Matrix:
    """A matrix of a known shape; what is in the given one counts in writing only."""
    rows = np.flatnonzero(code_flags(stream, np.any(given, axis=1))).tolist()
    columns = np.flatnonzero(code_flags(stream, np.any(given, axis=0))).tolist()
    zeros, magnitudes = Zeros(given.shape), Magnitudes()
    matrix = np.zeros_like(given)
    for row in rows:
        for column in columns:
            number = int(given[row, column])
            if zeros.code(stream, number != 0, (row, column)):
                matrix[row, column] = magnitudes.code(stream, number)
    return matrix
