"""Bits that differ, counted in vector registers: what numba's own loops do not become.

A vector holds a word of each of eight filters. Carry-save adders (Harley and Seal, in Warren,
"Hacker's Delight", section 5-1) sum eight words bit by bit, so that one popcount serves for eight.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

LANES = 8  # filters in a vector
STEP = 8  # words of a filter that one popcount serves for
WORD, INT = ir.IntType(64), ir.IntType(32)
VECTOR = ir.VectorType(WORD, LANES)
NONE = ir.Constant(VECTOR, [0] * LANES)

Value = Any  # one of LLVM's; llvmlite has no types of its own


@intrinsic  # type: ignore[untyped-decorator]
def popcount(_context: Any, word: types.Type) -> Any:  # noqa: ANN401
    """The ones of an int64."""

    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Value:  # noqa: ANN401
        return builder.ctpop(arguments[0])

    return types.int64(word), generate


@intrinsic  # type: ignore[untyped-decorator]
def signs_of(_context: Any, x: types.Type, start: types.Type) -> Any:  # noqa: ANN401
    """A word of the signs of 64 floats of an array from `start` on: ones where they are >= 0."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Value:  # noqa: ANN401
        kind = ir.VectorType(context.get_value_type(x.dtype), WORD.width)
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        place = builder.bitcast(builder.gep(array.data, [arguments[1]]), kind.as_pointer())
        floats = builder.load(place, align=x.dtype.bitwidth // 8)
        zeros = ir.Constant(kind, [0.0] * WORD.width)
        return builder.bitcast(builder.fcmp_ordered(">=", floats, zeros), WORD)

    return types.int64(x, start), generate


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
