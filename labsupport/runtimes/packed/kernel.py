"""Products of packed signs: bits that differ, counted in vector registers. Compiled by numba.

A vector holds a word of each of eight filters. Carry-save adders (Harley and Seal, in Warren,
"Hacker's Delight", section 5-1) sum eight words bit by bit, so that one popcount serves for eight.
A task are 64 filters, a word of the output, and some rows of inputs: its weights and counts stay in
near caches. Each loop over tasks exists twice, for one thread and for several.

Words are int64, as torch has them; in numba, uint64 and a number would give floats. All that the
kernels are made of stands in this file: numba compiles them anew when the file changes.
"""

# ruff: noqa: ANN401  (llvmlite has no types)
from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, prange, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

Words = NDArray[np.int64]
Floats = NDArray[np.float32]
Whole = NDArray[np.int32]
Value = Any  # one of LLVM's
Task = tuple[int, int, int]  # a word of the output, its first row and that after its last

BITS = 64  # of a word
LANES = 8  # filters in a vector
GROUPS = BITS // LANES  # vectors of filters that make a word of the output
ROWS = 64  # rows of inputs in a task
STEP = 8  # words of a filter that one popcount serves for
WORD, INT = ir.IntType(64), ir.IntType(32)
VECTOR = ir.VectorType(WORD, LANES)
NONE = ir.Constant(VECTOR, [0] * LANES)


@intrinsic
def at_least(_context: Any, x: Any, start: Any, limits: Any, first: Any) -> Any:
    """A word of comparisons: bit i is one where x[start + i] >= limits[first + i].

    Both arrays have one dimension and numbers of the same type.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Value:
        kind = ir.VectorType(context.get_value_type(x.dtype), LANES)
        places = _places(context, builder, signature.args, arguments)
        vectors = [builder.bitcast(place, kind.as_pointer()) for place in places]
        floats = isinstance(x.dtype, types.Float)
        compare = builder.fcmp_ordered if floats else builder.icmp_signed
        word = WORD(0)
        for group in range(GROUPS):  # as many as a register holds
            at = [builder.gep(vector, [INT(group)]) for vector in vectors]
            numbers = [builder.load(place, align=x.dtype.bitwidth // 8) for place in at]
            byte = builder.bitcast(compare(">=", *numbers), ir.IntType(LANES))
            shifted = builder.shl(builder.zext(byte, WORD), WORD(group * LANES))
            word = builder.or_(word, shifted)
        return word

    return types.int64(x, start, limits, first), generate


@intrinsic
def count_differing(
    _context: Any,
    weights: Any,
    first: Any,
    words: Any,
    start: Any,
    counts: Any,
    at: Any,
    number: Any,
) -> Any:
    """Note in how many bits an input differs from each of eight filters, in `counts` from `at` on.

    The filters' words lie in `weights` from `first` on, word by word, the input's `number` words in
    `words` from `start` on. All arrays have one dimension.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Value:
        filters, image, out = _places(context, builder, signature.args, arguments)
        rows = builder.bitcast(filters, VECTOR.as_pointer())
        total = _Counter(builder, rows, image).count(arguments[-1])
        kind = ir.VectorType(INT, LANES)
        place = builder.bitcast(out, kind.as_pointer())
        builder.store(builder.trunc(total, kind), place, align=4)
        return context.get_dummy_value()

    return types.void(weights, first, words, start, counts, at, number), generate


def _places(context: Any, builder: Any, kinds: Any, arguments: Any) -> list[Value]:
    """Addresses in arrays, each followed by an index."""
    found = []
    for kind, array, index in zip(kinds[0::2], arguments[0::2], arguments[1::2], strict=False):
        data = context.make_array(kind)(context, builder, array).data
        found.append(builder.gep(data, [index]))
    return found


class _Counter:
    """The instructions that count for eight filters at once."""

    def __init__(self, builder: Any, rows: Value, words: Value) -> None:
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
def _tasks(words: Words, weights: Words) -> int:
    return (len(words) + ROWS - 1) // ROWS * (len(weights) // GROUPS)


@njit(cache=True)
def _count(task: int, words: Words, rows: int, weights: Words, length: int, counts: Whole) -> Task:
    """Fill counts (ROWS 64,) of a task; which word of the output it is, and of which rows."""
    chunks = (rows + ROWS - 1) // ROWS
    word, start = task // chunks, task % chunks * ROWS
    end = min(rows, start + ROWS)
    for group in range(GROUPS):
        first = (word * GROUPS + group) * LANES * length
        for row in range(start, end):
            at = (row - start) * BITS + group * LANES
            count_differing(weights, first, words, row * length, counts, at, length)
    return word, start, end


@njit(cache=True)
def _finish_rows(
    found: Task, counts: Whole, size: int, factors: Floats, shifts: Floats, out: Floats
) -> None:
    """Floats of rows (M, F, 1), which lie filter by filter."""
    word, start, end = found
    first, filters = word * BITS, out.shape[1]
    last = min(filters, first + BITS)
    factor, shift, flat = factors[first:last], shifts[first:last], out.reshape(-1)
    for row in range(start, end):
        target = flat[row * filters + first : row * filters + last]
        count = counts[(row - start) * BITS : (row - start + 1) * BITS]
        for i in range(last - first):
            value = np.float32(np.int32(size) - np.int32(2) * count[i])
            target[i] = value * factor[i] + shift[i]


@njit(cache=True)
def _finish_maps(
    found: Task, counts: Whole, size: int, factors: Floats, shifts: Floats, out: Floats
) -> None:
    """Floats of maps (N, F, P), which lie position by position: of an image, then of the next."""
    word, start, end = found
    _, filters, positions = out.shape
    while start < end:
        image, position = start // positions, start % positions
        number = min(end - start, positions - position)
        for i in range(min(BITS, filters - word * BITS)):
            factor, shift = factors[word * BITS + i], shifts[word * BITS + i]
            target = out[image, word * BITS + i, position : position + number]
            at = (start - found[1]) * BITS + i
            for row in range(number):
                value = np.float32(np.int32(size) - np.int32(2) * counts[at + row * BITS])
                target[row] = value * factor + shift
        start += number


@njit(cache=True)
def _finish_floats(
    found: Task, counts: Whole, size: int, factors: Floats, shifts: Floats, out: Floats
) -> None:
    if out.shape[2] == 1:
        _finish_rows(found, counts, size, factors, shifts, out)
    else:
        _finish_maps(found, counts, size, factors, shifts, out)


@njit(cache=True)
def _finish_bits(found: Task, counts: Whole, limits: Whole, flips: Words, out: Words) -> None:
    word, start, end = found
    for row in range(start, end):
        position = row % len(flips)
        limit = (position * out.shape[1] + word) * BITS
        few = at_least(limits, limit, counts, (row - start) * BITS)
        out[row, word] = few ^ flips[position, word]


@njit(cache=True)
def floats_alone(
    words: Words, weights: Words, size: int, factors: Floats, shifts: Floats, out: Floats
) -> None:
    """Fill maps (N, F, P) with sums of signs times factors (F,) plus shifts (F,).

    `words` (N P, K) are rows of inputs, `weights` (filters / 8, K, 8) those of filters; `size` is
    how many signs there are in a row.
    """
    counts, (rows, length) = np.empty(ROWS * BITS, np.int32), words.shape
    flat, filters = words.reshape(-1), weights.reshape(-1)
    for task in range(_tasks(words, weights)):
        found = _count(task, flat, rows, filters, length, counts)
        _finish_floats(found, counts, size, factors, shifts, out)


@njit(cache=True, parallel=True)
def floats_together(
    words: Words, weights: Words, size: int, factors: Floats, shifts: Floats, out: Floats
) -> None:
    """`floats_alone` on numba's threads."""
    rows, length = words.shape
    flat, filters = words.reshape(-1), weights.reshape(-1)
    for task in prange(_tasks(words, weights)):
        counts = np.empty(ROWS * BITS, np.int32)
        found = _count(task, flat, rows, filters, length, counts)
        _finish_floats(found, counts, size, factors, shifts, out)


@njit(cache=True)
def bits_alone(words: Words, weights: Words, limits: Whole, flips: Words, out: Words) -> None:
    """Fill rows of words (M, filters / 64): ones where inputs differ in few enough places.

    `limits` (P, filters) say how many are few, position by position; a single row is for all. Where
    `flips` (P, filters / 64) have ones, bits are turned round.
    """
    counts, (rows, length) = np.empty(ROWS * BITS, np.int32), words.shape
    flat, filters, flat_limits = words.reshape(-1), weights.reshape(-1), limits.reshape(-1)
    for task in range(_tasks(words, weights)):
        found = _count(task, flat, rows, filters, length, counts)
        _finish_bits(found, counts, flat_limits, flips, out)


@njit(cache=True, parallel=True)
def bits_together(words: Words, weights: Words, limits: Whole, flips: Words, out: Words) -> None:
    """`bits_alone` on numba's threads."""
    rows, length = words.shape
    flat, filters, flat_limits = words.reshape(-1), weights.reshape(-1), limits.reshape(-1)
    for task in prange(_tasks(words, weights)):
        counts = np.empty(ROWS * BITS, np.int32)
        found = _count(task, flat, rows, filters, length, counts)
        _finish_bits(found, counts, flat_limits, flips, out)


@njit(cache=True)
def pack_rows(x: Floats, limits: Floats, words: Words) -> None:
    """Fill words (M, K) with rows (M, C): channel 64 k + b is bit b of word k.

    A bit is one where the float is at least its channel's limit (C,); bits beyond the channels are
    zero.
    """
    rows, channels = x.shape
    flat = x.reshape(-1)
    for row in range(rows):
        for word in range(channels // BITS):
            words[row, word] = at_least(flat, row * channels + word * BITS, limits, word * BITS)
        left = np.int64(0)
        for channel in range(channels // BITS * BITS, channels):
            left |= np.int64(x[row, channel] >= limits[channel]) << np.int64(channel % BITS)
        if channels % BITS:
            words[row, channels // BITS] = left
