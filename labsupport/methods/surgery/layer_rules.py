"""What layers, pools and arithmetic do with channels, each rule for the calls that it knows.

A rule gives NotImplemented where another one is asked for.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import fx, nn

from labsupport.methods.surgery import kinds
from labsupport.methods.surgery.identities import Traced
from labsupport.methods.surgery.ledger import Ledger
from labsupport.network.tracing import called, shape_of


def weighted(ledger: Ledger, node: fx.Node) -> Any:  # noqa: ANN401
    """A layer with a filter or neuron for each channel that it gives."""
    layer = called(ledger.graph, node)
    if not isinstance(layer, (nn.Linear, *kinds.CONVOLUTIONS)) or kinds.is_depthwise(layer):
        return NotImplemented
    axis, name = (-1 if isinstance(layer, nn.Linear) else 1), str(node.target)
    _read(ledger, name, ledger.given(node)[0], axis)
    if name not in ledger.makes:
        ledger.makes[name] = ledger.channels.new(len(layer.get_parameter("weight")))
    groups = getattr(layer, "groups", 1)
    for numbers in (ledger.reads.get(name), ledger.makes[name]):
        if groups > 1 and numbers is not None:  # the same offset in each group goes together
            ledger.join_along(numbers.view(groups, -1), axis=0)
    return ledger.laid_out(node, ledger.makes[name], axis)


def _read(ledger: Ledger, name: str, source: Traced, axis: int) -> None:
    numbers = source.on_axis(axis)
    if numbers is None:
        ledger.channels.fix(source.numbers, f"they are not laid out as {name} reads channels")
        return
    if source.not_zero:
        ledger.channels.fix(numbers, f"they go through {source.not_zero}")
    ledger.channels.join(numbers, ledger.reads.setdefault(name, numbers))


def follower(ledger: Ledger, node: fx.Node) -> Any:  # noqa: ANN401
    """A layer that holds something for each channel and passes it on."""
    layer, name = called(ledger.graph, node), str(node.target)
    depthwise = layer is not None and kinds.is_depthwise(layer)
    if not depthwise and not isinstance(layer, kinds.NORMS):
        return NotImplemented
    numbers = ledger.given(node)[0].on_axis(1)
    if numbers is None:
        return NotImplemented
    assert layer is not None
    if depthwise:  # it may have several filters for each channel
        numbers = numbers.repeat_interleave(len(layer.get_parameter("weight")) // len(numbers))
    ledger.channels.join(numbers, ledger.works.setdefault(name, numbers))
    keeps = "" if depthwise or layer.affine else ledger.given(node)[0].not_zero
    return ledger.laid_out(node, numbers, 1, keeps)


def elementwise(ledger: Ledger, node: fx.Node) -> Any:  # noqa: ANN401
    """What works on each element by itself; it may make something of a zero."""
    layer, given = called(ledger.graph, node), ledger.given(node)
    if len(given) != 1 or shape_of(node) is None:
        return NotImplemented
    if kinds.is_elementwise(layer, node):
        return given[0]
    if kinds.shifts_zero(layer, node):
        return Traced(given[0].numbers, given[0].shape, ledger.what(node))
    return NotImplemented


def pool(ledger: Ledger, node: fx.Node) -> Any:  # noqa: ANN401
    """Positions that are put together, those of each channel by themselves."""
    axes, shape = kinds.pooled_axes(called(ledger.graph, node), node), shape_of(node)
    if axes is None or shape is None:
        return NotImplemented
    source = ledger.given(node)[0]
    if set(axes) & set(source.varying):
        return NotImplemented
    numbers = source.numbers
    if len(shape) < numbers.dim():
        numbers = numbers.squeeze(axes)
    return Traced(numbers, shape, source.not_zero)


def sum_or_product(ledger: Ledger, node: fx.Node) -> Any:  # noqa: ANN401
    """Tensors that are added or multiplied: their channels go together."""
    given, shape = ledger.given(node), shape_of(node)
    adds = kinds.calls(node, kinds.ADDITIONS)
    if not (adds or kinds.calls(node, kinds.PRODUCTS)) or len(given) != 2 or shape is None:
        return NotImplemented
    one, other = given
    reasons = (one.not_zero, other.not_zero)
    not_zero = (reasons[0] or reasons[1]) if adds else (reasons[0] and reasons[1])
    if not_zero and kinds.calls(node, kinds.IN_PLACE):
        return NotImplemented  # who reads the tensor that is changed does not know
    both = np.broadcast_shapes(one.numbers.shape, other.numbers.shape)
    ledger.channels.join(one.numbers.expand(both), other.numbers.expand(both))
    return ledger.traced(one.numbers.expand(both), shape, not_zero)
