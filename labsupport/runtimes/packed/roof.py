"""The roof of products of signs: XOR and popcount in a bare loop. Compiled by numba."""

from __future__ import annotations

from typing import Any

from numba import njit, types
from numba.extending import intrinsic

from labsupport.runtimes.packed.kernel import Words


@intrinsic
def popcount(_context: Any, word: Any) -> Any:  # noqa: ANN401
    """The ones of an int64."""

    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:  # noqa: ANN401
        return builder.ctpop(arguments[0])

    return types.int64(word), generate


@njit(cache=True)
def bare_counts(one: Words, other: Words, times: int) -> int:
    """XOR and popcount over two vectors, again and again, and nothing else."""
    total = 0
    for _ in range(times):
        for i in range(len(one)):
            total += popcount(one[i] ^ other[i])
    return total
