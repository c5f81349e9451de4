"""Schedules: how a network gets from its widths to smaller ones, retrained on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn

from labsupport.errors import LabError
from labsupport.methods.pruning.criteria import Criterion
from labsupport.methods.surgery import channel_groups, group_of, remove_channels

Widths = Mapping[str, int]  # channels that are left, by a layer that makes them
Retrain = Callable[[nn.Module], nn.Module]


def prune(
    model: nn.Module, input_shape: tuple[int, ...], widths: Widths, criterion: Criterion
) -> nn.Module:
    """A smaller copy with the channels that score highest, `widths` of them; no training.

    Raises LabError for a layer that cannot be pruned, or a width below 1 or above its own.
    """
    groups = channel_groups(model, input_shape)
    chosen = {layer: group_of(layer, groups) for layer in widths}
    for layer, width in widths.items():
        if not 1 <= width <= chosen[layer].channels:
            problem = f"{layer} has {chosen[layer].channels} channels, not {width}"
            raise LabError(problem, "keep at least one and at most all")
    scores = criterion(model, [g for layer, g in chosen.items() if widths[layer] < g.channels])
    removed = {
        layer: least(scores[group.name], group.channels - widths[layer])
        for layer, group in chosen.items()
        if group.name in scores
    }
    return remove_channels(model, input_shape, removed)


def along(
    path: Iterable[Widths],
    model: nn.Module,
    input_shape: tuple[int, ...],
    criterion: Criterion,
    retrain: Retrain,
) -> Iterator[nn.Module]:
    """The network at each stop of a path: pruned from the one before, then retrained.

    The optimizer has to be a new one each time, since the weights are; `fit` sees to that.
    """
    for widths in path:
        model = retrain(prune(model, input_shape, widths, criterion))
        yield model


def one_at_a_time(start: Widths, end: Widths) -> Iterator[Widths]:
    """From `start` to `end` by one channel in each step, layer by layer."""
    now = dict(start)
    for layer in end:
        while now[layer] > end[layer]:
            now[layer] -= 1
            yield dict(now)


def by_fraction(start: Widths, end: Widths, fraction: float) -> Iterator[Widths]:
    """From `start` to `end`, all layers at once, each time by a fraction of what is left.

    Raises LabError for a fraction outside (0, 1).
    """
    if not 0 < fraction < 1:
        raise LabError(f"a fraction of {fraction}", "give a number between 0 and 1")
    now = {layer: start[layer] for layer in end}
    while any(now[layer] > width for layer, width in end.items()):
        now = {n: max(end[n], min(w - 1, round(w * (1 - fraction)))) for n, w in now.items()}
        yield dict(now)


def least(scores: Tensor, count: int) -> list[int]:
    """The `count` channels of the least scores, the first of equal ones.

    Raises LabError where a score is NaN.
    """
    if scores.isnan().any():
        raise LabError("a score is no number", "look for a loss or weights that are none")
    return torch.argsort(scores, stable=True)[:count].tolist()
