"""Which pixels a position of each map sees, from kernels, strides, dilations and paddings.

Araujo, Norris and Sim 2019, "Computing receptive fields of convolutional neural networks", sections
2 and 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import fx, nn
from torch.nn import functional

from labsupport.core.errors import LabError
from labsupport.network.calls import kind_of
from labsupport.network.tracing import called, shape_of, trace, where

COLUMNS = ["name", "kind"] + [
    f"{what}_{way}" for what in ("field", "step", "start") for way in "hw"
]
SLIDING = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)
ADAPTIVE = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)
POOLS = (functional.max_pool2d, functional.avg_pool2d)
MEANS = ("mean", torch.mean, functional.adaptive_avg_pool2d, functional.adaptive_max_pool2d)
MIXING = (
    *(functional.conv2d, functional.conv_transpose2d, functional.linear, torch.matmul, "matmul"),
    *(torch.transpose, "transpose", torch.permute, "permute"),
)
NUMBERS = ("kernel_size", "stride", "padding", "dilation")


@dataclass(frozen=True)
class Span:
    """Along one axis: the pixels [start, start + field) that position 0 sees; the next, step on."""

    start: int = 0
    field: int = 1
    step: int = 1

    def behind(self, kernel: int, stride: int, padding: int, dilation: int) -> Span:
        """The window of a layer that slides over maps of this one."""
        wider = self.field + (kernel - 1) * dilation * self.step
        return Span(self.start - padding * self.step, wider, self.step * stride)

    def __or__(self, other: Span) -> Span:
        """What maps see that are joined from two."""
        start = min(self.start, other.start)
        end = max(self.start + self.field, other.start + other.field)
        return Span(start, end - start, self.step)


View = tuple[Span, Span]  # down, across


def receptive_fields(model: nn.Module, input_shape: Sequence[int]) -> pd.DataFrame:
    """A row per convolution or pooling, in order, of a network for inputs (C, H, W).

    Columns: name, kind, then by height and width: field, the pixels that one position sees, be they
    in the image or beside it; step, the pixels from one position's field to the next; start, the
    first pixel that the first position sees (below 0 in the padding). Behind flattened maps all is
    seen, and no row follows. Raises LabError for a network that cannot be traced, and for what
    mixes positions or resizes maps otherwise, naming the layer.
    """
    graph = trace(model, input_shape)
    views: dict[fx.Node, View] = {}
    rows = []
    for node in graph.graph.nodes:
        view = _view(graph, node, views)
        if view is None:
            continue
        views[node] = view
        layer = called(graph, node)
        if isinstance(layer, SLIDING + ADAPTIVE):
            rows.append([where(node), kind_of(layer), *_figures(view)])
    return pd.DataFrame(rows, columns=COLUMNS)


def _figures(view: View) -> list[int]:
    return [getattr(window, what) for what in ("field", "step", "start") for window in view]


def _view(graph: fx.GraphModule, node: fx.Node, views: dict[fx.Node, View]) -> View | None:
    """What a call's maps see; None for what gives no maps."""
    if node.op == "placeholder":
        return Span(), Span()
    seen = [given for given in node.all_input_nodes if given in views]
    shape = shape_of(node)
    if not seen or node.op == "output" or (shape is not None and len(shape) != 4):
        return None
    before = views[seen[0]]
    for given in seen[1:]:
        down, across = views[given]
        before = before[0] | down, before[1] | across
    numbers = _sliding(graph, node)
    if numbers:
        return _slid(numbers, before)
    _check_pointwise(graph, node)
    sizes = {_size(given) for given in (node, *seen)} - {None}
    if len(sizes) <= 1:
        return before
    return _pooled(node, called(graph, node), seen[0], before)


def _check_pointwise(graph: fx.GraphModule, node: fx.Node) -> None:
    """Raises LabError for a call that mixes positions in a way that is not known here."""
    layer = called(graph, node)
    weighted = layer is not None and any(p.dim() > 1 for p in layer.parameters())
    if weighted or node.target in MIXING:
        problem = f"what {where(node)} sees is not known"
        raise LabError(problem, "use modules for convolutions, and leave the axes in their order")


def _size(node: fx.Node) -> tuple[int, ...] | None:
    shape = shape_of(node)
    return None if shape is None else tuple(shape[2:])


def _sliding(graph: fx.GraphModule, node: fx.Node) -> dict[str, Any] | None:
    """Kernel, stride, padding and dilation of a call that slides over maps."""
    layer = called(graph, node)
    if isinstance(layer, SLIDING):
        return {name: getattr(layer, name, 1) for name in NUMBERS}
    if node.target not in POOLS:
        return None
    given = node.normalized_arguments(graph, normalize_to_only_use_kwargs=True)
    assert given is not None  # torch.fx knows its own functions
    numbers = {name: given.kwargs.get(name, 1) for name in NUMBERS}
    return numbers | {"stride": numbers["stride"] or numbers["kernel_size"]}


def _slid(numbers: dict[str, Any], before: View) -> View:
    kernel, stride, dilation = (_pair(numbers[n]) for n in ("kernel_size", "stride", "dilation"))
    padding = _padding(numbers["padding"], kernel, dilation)
    down, across = (
        window.behind(*each)
        for window, *each in zip(before, kernel, stride, padding, dilation, strict=True)
    )
    return down, across


def _padding(given: Any, kernel: Sequence[int], dilation: Sequence[int]) -> Sequence[int]:  # noqa: ANN401
    if given == "same":  # where one side gets a pixel more, it is the far one
        return [d * (k - 1) // 2 for k, d in zip(kernel, dilation, strict=True)]
    return _pair(0 if given == "valid" else given)


def _pooled(node: fx.Node, layer: nn.Module | None, given: fx.Node, before: View) -> View:
    """Of pooling to a size: as many positions each, or all of them."""
    sizes, wanted = _size(given), _size(node)
    assert sizes is not None
    assert wanted is not None
    fits = all(size % pooled == 0 for size, pooled in zip(sizes, wanted, strict=True))
    means = isinstance(layer, ADAPTIVE) or node.target in MEANS
    if not (means and fits):
        problem = f"what {where(node)} does to the size of maps leaves no field that could be told"
        raise LabError(problem, "use convolutions, pooling modules, and pooling to whole shares")
    down, across = (
        window.behind(size // pooled, size // pooled, 0, 1)
        for window, size, pooled in zip(before, sizes, wanted, strict=True)
    )
    return down, across


def _pair(value: int | Sequence[int]) -> Sequence[int]:
    return (value, value) if isinstance(value, int) else value
