"""Products of packed signs: bits that differ, counted in vector registers. Compiled by numba.

A vector holds a word of each of eight filters. Carry-save adders (Harley and Seal, in Warren,
"Hacker's Delight", section 5-1) sum eight words bit by bit, so that one popcount serves for eight.
A task are 64 filters, a word of the output, and some rows of inputs: its weights stay in near
caches. Each loop over tasks exists twice, for one thread and for several.

Words are int64, as torch has them; in numba, uint64 and a number would give floats. All that the
kernels are made of stands in this file: numba compiles them anew when the file changes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, prange
from numba.core import cgutils, types
from numba.extending import intrinsic
from numpy.typing import NDArray

Words = NDArray[np.int64]
Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Whole = NDArray[np.int32]
Value = Any  # one of LLVM's; llvmlite has no types of its own

BITS = 64  # of a word
LANES = 8  # filters in a vector
GROUPS = BITS // LANES  # vectors of filters that make a word of the output
ROWS = 64  # rows of inputs in a task
STEP = 8  # words of a filter that one popcount serves for
WORD, INT = ir.IntType(64), ir.IntType(32)
VECTOR = ir.VectorType(WORD, LANES)
NONE = ir.Constant(VECTOR, [0] * LANES)


@intrinsic  # type: ignore[untyped-decorator]
def differing(
    _context: Any,  # noqa: ANN401
    weights: types.Type,
    first: types.Type,
    words: types.Type,
    start: types.Type,
    number: types.Type,
) -> Any:  # noqa: ANN401
    """In how many bits an input differs from each of eight filters, as eight int32.

    The filters' words lie in `weights` from `first` on, word by word, the input's `number` words in
    `words` from `start` on; both arrays are int64, of one dimension.
    """
    counts = types.UniTuple(types.int32, LANES)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Value:  # noqa: ANN401
        (filters, image), (begin, at) = arguments[0::2][:2], arguments[1::2][:2]
        kinds = signature.args[0::2][:2]
        data = [
            context.make_array(kind)(context, builder, array).data
            for kind, array in zip(kinds, (filters, image), strict=True)
        ]
        rows = builder.bitcast(builder.gep(data[0], [begin]), VECTOR.as_pointer())
        total = _Counter(builder, rows, builder.gep(data[1], [at])).count(arguments[4])
        total = builder.trunc(total, ir.VectorType(INT, LANES))
        numbers = [builder.extract_element(total, INT(lane)) for lane in range(LANES)]
        return context.make_tuple(builder, signature.return_type, numbers)

    return counts(weights, first, words, start, number), generate


class _Counter:
    """The instructions that count for eight filters at once."""

    def __init__(self, builder: Any, rows: Value, words: Value) -> None:  # noqa: ANN401
        self.builder, self.rows, self.words = builder, rows, words
        module = builder.module
        kind = ir.FunctionType(VECTOR, [VECTOR])
        self.ones = cgutils.get_or_insert_function(module, kind, f"llvm.ctpop.v{LANES}i64")

    def count(self, number: Value) -> Value:
        """Steps of eight words, then the words left over one by one."""
        builder = self.builder
        sums = [cgutils.alloca_once_value(builder, NONE) for _ in range(4)]  # of 1, 2, 4, 8 bits
        steps = builder.sdiv(number, WORD(STEP))
        with cgutils.for_range(builder, steps) as loop:
            self.step(builder.mul(loop.index, WORD(STEP)), sums)
        total = builder.load(sums[-1])
        for partial in sums[-2::-1]:
            twice = builder.add(total, total)
            total = builder.add(twice, builder.call(self.ones, [builder.load(partial)]))
        builder.store(total, sums[-1])
        done = builder.mul(steps, WORD(STEP))
        with cgutils.for_range(builder, builder.sub(number, done)) as loop:
            self.add(sums[-1], self.difference(builder.add(done, loop.index)))
        return builder.load(sums[-1])

    def step(self, first: Value, sums: list[Value]) -> None:
        """Sum eight words into bits that count 1, 2 and 4, and what counts 8 as a number."""
        builder = self.builder
        new = [self.difference(builder.add(first, WORD(i))) for i in range(STEP)]
        for partial in sums[:-1]:
            held, carries = builder.load(partial), []
            for one, other in zip(new[0::2], new[1::2], strict=True):
                held, carry = self.add_bits(held, one, other)
                carries.append(carry)
            builder.store(held, partial)
            new = carries
        self.add(sums[-1], new[0])

    def difference(self, place: Value) -> Value:
        """A word of the input against those of eight filters: ones where they differ."""
        builder = self.builder
        vector = builder.load(builder.gep(self.rows, [place]), align=8)
        word = builder.load(builder.gep(self.words, [place]))
        nothing = ir.Constant(VECTOR, ir.Undefined)
        lone = builder.insert_element(nothing, word, INT(0))
        nowhere = ir.Constant(ir.VectorType(INT, LANES), [0] * LANES)
        return builder.xor(vector, builder.shuffle_vector(lone, nothing, nowhere))

    def add_bits(self, x: Value, y: Value, z: Value) -> tuple[Value, Value]:
        """Three bits at each place as a sum and a carry."""
        builder = self.builder
        either = builder.xor(x, y)
        carry = builder.or_(builder.and_(x, y), builder.and_(either, z))
        return builder.xor(either, z), carry

    def add(self, total: Value, vector: Value) -> None:
        """Add the ones of a vector to a total."""
        counted = self.builder.call(self.ones, [vector])
        self.builder.store(self.builder.add(self.builder.load(total), counted), total)


@njit(cache=True)
def _chunks(rows: int) -> int:
    return (rows + ROWS - 1) // ROWS


@njit(cache=True)
def _floats_of_task(
    task: int, words: Words, weights: Words, size: int, factors: Floats, shifts: Floats, out: Floats
) -> None:
    rows, length = words.shape
    filters = out.shape[1]
    chunk = task % _chunks(rows)
    flat, filters_flat = words.reshape(-1), weights.reshape(-1)
    for group in range(task // _chunks(rows) * GROUPS, (task // _chunks(rows) + 1) * GROUPS):
        first = group * LANES
        for row in range(chunk * ROWS, min(rows, (chunk + 1) * ROWS)):
            counts = differing(filters_flat, first * length, flat, row * length, length)
            if first + LANES <= filters:
                for lane in range(LANES):
                    value = np.float32(np.int32(size - 2 * counts[lane]))
                    out[row, first + lane] = value * factors[first + lane] + shifts[first + lane]
            else:
                for lane in range(filters - first):
                    value = np.float32(np.int32(size - 2 * counts[lane]))
                    out[row, first + lane] = value * factors[first + lane] + shifts[first + lane]


@njit(cache=True)
def _bits_of_task(task: int, words: Words, weights: Words, limits: Whole, out: Bytes) -> None:
    rows, length = words.shape
    chunk = task % _chunks(rows)
    flat, filters_flat = words.reshape(-1), weights.reshape(-1)
    for group in range(task // _chunks(rows) * GROUPS, (task // _chunks(rows) + 1) * GROUPS):
        first = group * LANES
        for row in range(chunk * ROWS, min(rows, (chunk + 1) * ROWS)):
            counts = differing(filters_flat, first * length, flat, row * length, length)
            limit = limits[row % len(limits)]
            byte = 0
            for lane in range(LANES):
                byte |= (counts[lane] <= limit[first + lane]) << lane
            out[row, group] = byte


@njit(cache=True)
def floats_alone(
    words: Words, weights: Words, size: int, factors: Floats, shifts: Floats, out: Floats
) -> None:
    """Fill maps (N, F, P) with sums of signs times factors (F,) plus shifts (F,).

    `words` (N P, K) are rows of inputs, `weights` (filters / 8, K, 8) those of filters; `size` is
    how many signs there are in a row.
    """
    for task in range(_chunks(len(words)) * (len(weights) // GROUPS)):
        _floats_of_task(task, words, weights, size, factors, shifts, out)


@njit(cache=True, parallel=True)
def floats_together(
    words: Words, weights: Words, size: int, factors: Floats, shifts: Floats, out: Floats
) -> None:
    """`floats_alone` on numba's threads."""
    for task in prange(_chunks(len(words)) * (len(weights) // GROUPS)):
        _floats_of_task(task, words, weights, size, factors, shifts, out)


@njit(cache=True)
def bits_alone(words: Words, weights: Words, limits: Whole, out: Bytes) -> None:
    """Fill rows of bits (M, filters / 8): one where a row of inputs differs in few enough places.

    `limits` (P, filters) say how many are few, position by position; a single row is for all.
    """
    for task in range(_chunks(len(words)) * (len(weights) // GROUPS)):
        _bits_of_task(task, words, weights, limits, out)


@njit(cache=True, parallel=True)
def bits_together(words: Words, weights: Words, limits: Whole, out: Bytes) -> None:
    """`bits_alone` on numba's threads."""
    for task in prange(_chunks(len(words)) * (len(weights) // GROUPS)):
        _bits_of_task(task, words, weights, limits, out)
