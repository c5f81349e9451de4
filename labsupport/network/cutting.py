"""A network cut into parts: what comes out of the first one, batch by batch."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from labsupport.data import Batched
from labsupport.network.in_place import keep_input
from labsupport.network.places import CutGraph, Place, check_order, leading_modules
from labsupport.network.tracing import shape_of, trace


def cut(model: nn.Module, *places: Place) -> list[nn.Module]:
    """Copies of a network's parts between some places, in eval mode: stem and rest for one place.

    A place is a layer's name as `named_modules` has it: the network is cut behind what the layer
    gives (where it is called more than once, behind the last call). In an nn.Sequential it may
    also be the number of leading modules. Place 0 is the input, whose stem is empty.

    Any network that can be traced is cut where all that runs later depends on the one value alone:
    in a residual network between its blocks. Raises LabError for another place, with those that
    would do, and for places out of order.
    """
    copied = copy.deepcopy(model).eval()
    numbers = [leading_modules(copied, place) for place in places]
    if isinstance(copied, nn.Sequential) and None not in numbers:
        return _slices(copied, cast("list[int]", numbers))
    return CutGraph(copied).parts(places)


def in_order(model: nn.Module, places: Sequence[Place]) -> list[Place]:
    """The places in the order in which the network passes them. Raises LabError as `cut` does."""
    numbers = {place: leading_modules(model, place) for place in places}
    if None in numbers.values():
        graph = CutGraph(model)
        numbers = {place: graph.position(place) for place in places}
    return sorted(places, key=lambda place: cast(int, numbers[place]))


def cut_points(model: nn.Module, input_shape: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """Where a network can be cut, in order, and the shape of one image's features there.

    A value that several modules give is named by the outermost, one that none gives by the graph.
    """
    graph = CutGraph(model, trace(model, input_shape))
    shapes = {name: shape_of(node) for name, node in graph.places().items()}
    return {name: tuple(shape[1:]) for name, shape in shapes.items() if shape is not None}


def collect(
    model: nn.Module, place: Place, split: Batched, batch_size: int = 100
) -> Iterator[tuple[Tensor, Tensor]]:
    """Features at a place and the network's logits, one batch at a time, in order.

    A batch's features can be let go before the next come: 60,000 of 32 x 26 x 26 would fill 5 GB.
    """
    stem, rest = cut(model, place)
    for x, _ in split.batches(batch_size):
        with torch.inference_mode():
            features = stem(x)
            # The rest gets a copy: it may begin with a call that works in place.
            logits = rest(features.clone())
        yield features, logits
        del features, logits  # before the next are made


def _slices(model: nn.Sequential, numbers: Sequence[int]) -> list[nn.Module]:
    check_order(numbers)
    layers = list(model)
    cuts = pairwise([0, *numbers, len(layers)])
    parts = [nn.Sequential(*layers[start:end]).eval() for start, end in cuts]
    for part in parts[1:]:
        keep_input(part[0])
    return cast("list[nn.Module]", parts)
