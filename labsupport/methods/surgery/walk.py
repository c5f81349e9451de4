"""One walk along a network's calls: which layer makes, works on and reads which channels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, fx
from torch.fx.node import map_aggregate

from labsupport.methods.surgery import kinds, layer_rules, moving_rules
from labsupport.methods.surgery.ledger import Ledger

Rule = Callable[[Ledger, fx.Node], Any]  # NotImplemented where another rule is asked for


def walk(graph: fx.GraphModule) -> Ledger:
    """What a traced network does with channels."""
    ledger = Ledger(graph)
    for node in graph.graph.nodes:
        ledger.values[node] = _visit(ledger, node)
    ledger.fix_shared_weights()
    return ledger


def _visit(ledger: Ledger, node: fx.Node) -> Any:  # noqa: ANN401
    """What a call gives: a Traced, tuples of them, or a number."""
    for rule in RULES:
        value = rule(ledger, node)
        if value is not NotImplemented:
            return value
    return _unknown(ledger, node)


def _boundary(ledger: Ledger, node: fx.Node) -> Any:  # noqa: ANN401
    """The network's input and output, and weights that its code reads by itself."""
    if node.op == "placeholder":
        return ledger.opaque(node, "they are joined with the network's input")
    if node.op == "get_attr":
        return ledger.opaque(node, f"they are joined with {node.target}")
    if node.op == "output":
        ledger.fix_given(node, "they are the network's output")
        return None
    return NotImplemented


def _number(ledger: Ledger, node: fx.Node) -> Any:  # noqa: ANN401
    """What is no tensor, such as the batch size for a reshape."""
    value = node.meta["value"]
    if _has_tensor(value) or (ledger.given(node) and node.target not in kinds.SIZES):
        return NotImplemented
    return value


def _unknown(ledger: Ledger, node: fx.Node) -> Any:  # noqa: ANN401
    what = ledger.what(node)
    ledger.fix_given(node, f"they go through {what}")
    return ledger.opaque(node, f"they come from {what}")


def _has_tensor(value: Any) -> bool:  # noqa: ANN401
    found: list[bool] = []
    map_aggregate(value, lambda part: found.append(isinstance(part, Tensor)))
    return any(found)


RULES: tuple[Rule, ...] = (
    _boundary, _number, layer_rules.weighted, layer_rules.follower, layer_rules.elementwise,
    layer_rules.pool, layer_rules.sum_or_product, moving_rules.reshape, moving_rules.concatenation,
    moving_rules.chunks, moving_rules.item, moving_rules.move,
)  # fmt: skip
