"""What only moves elements: reshapes, concatenation, chunks, transpositions.

It is run on the channels' numbers in place of the values, so that no rule for it has to be written
down. A rule gives NotImplemented where another one is asked for.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx
from torch.fx.node import map_arg

from labsupport.methods.surgery import kinds
from labsupport.methods.surgery.identities import Traced
from labsupport.methods.surgery.ledger import Ledger
from labsupport.network.tracing import called, shape_of


def reshape(ledger: Ledger, node: fx.Node) -> Any:  # noqa: ANN401
    """The same elements in another layout; sizes that stand in the code have to stay."""
    shape = shape_of(node)
    if not kinds.calls(node, kinds.RESHAPES) or shape is None:
        return NotImplemented
    source = ledger.given(node)[0]
    moved = ledger.traced(source.full.reshape(shape), shape, source.not_zero)
    written = kinds.written_axes(node)
    free = [axis for axis in moved.varying if axis not in written]
    if len(free) == 1:
        for axis in written.intersection(moved.varying):
            ledger.join_along(moved.numbers, axis)
    elif moved.varying:
        ledger.channels.fix(moved.numbers, "the code of a reshape holds their number")
    return ledger.traced(moved.numbers, shape, source.not_zero)


def concatenation(ledger: Ledger, node: fx.Node) -> Any:  # noqa: ANN401
    """Tensors behind each other: each keeps its channels."""
    shape = shape_of(node)
    if not kinds.calls(node, kinds.CONCATENATIONS) or shape is None:
        return NotImplemented
    given = ledger.given(node)
    axis = kinds.argument(node, 1, "dim", 0) % len(shape)
    not_zero = next((one.not_zero for one in given if one.not_zero), "")
    joined = ledger.traced(torch.cat([one.full for one in given], axis), shape, not_zero)
    if axis in joined.varying and len(joined.varying) > 1:  # positions, not channels, of each
        ledger.join_along(joined.numbers, axis)
    return ledger.traced(joined.numbers, shape, not_zero)


def chunks(ledger: Ledger, node: fx.Node) -> Any:  # noqa: ANN401
    """Equal parts: the same offset in each goes together, so that they stay equal."""
    pieces = node.meta["value"]
    if not kinds.calls(node, kinds.CHUNKS | kinds.SPLITS) or not isinstance(pieces, tuple):
        return NotImplemented
    source, sizes = ledger.given(node)[0], kinds.argument(node, 1, "", None)
    axis = kinds.argument(node, 2, "dim", 0) % len(source.shape)
    lengths = [piece.shape[axis] for piece in pieces]
    parts = torch.split(source.full, lengths, axis)
    if axis in source.varying:
        written = kinds.calls(node, kinds.SPLITS) and not isinstance(sizes, fx.Node)
        if written or len(set(lengths)) > 1:
            return NotImplemented
        for part in parts[1:]:
            ledger.channels.join(part, parts[0])
    return tuple(ledger.traced(part, part.shape, source.not_zero) for part in parts)


def item(ledger: Ledger, node: fx.Node) -> Any:  # noqa: ANN401
    """One of several tensors, or positions out of one."""
    if not kinds.calls(node, kinds.ITEMS):
        return NotImplemented
    of, index = node.args[:2]
    source = ledger.values[of] if isinstance(of, fx.Node) else None
    if isinstance(source, tuple | list) and isinstance(index, int | slice):
        return source[index]
    if not isinstance(source, Traced):
        return NotImplemented
    indexed = kinds.indexed_axes(index, len(source.shape))
    if indexed is None or indexed.intersection(source.varying):
        return NotImplemented
    at: Any = map_arg(index, lambda n: n.meta["value"])
    part = source.full[at]
    return ledger.traced(part, part.shape, source.not_zero)


def move(ledger: Ledger, node: fx.Node) -> Any:  # noqa: ANN401
    """Any other call that lays the elements of one tensor out anew."""
    layer, given, shape = called(ledger.graph, node), ledger.given(node), shape_of(node)
    moves = isinstance(layer, kinds.MOVING_LAYERS) or kinds.calls(node, kinds.MOVES)
    if not moves or len(given) != 1 or shape is None:
        return NotImplemented
    args, kwargs = map_arg((node.args, node.kwargs), ledger.as_numbers)
    if layer is not None:
        moved = layer(*args, **kwargs)
    elif node.op == "call_method":
        moved = getattr(args[0], str(node.target))(*args[1:], **kwargs)
    else:
        moved = node.target(*args, **kwargs)  # type: ignore[operator]
    return ledger.traced(moved, shape, given[0].not_zero)
