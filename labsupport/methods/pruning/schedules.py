"""Schedules: how a network gets from its widths to smaller ones, retrained on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn

from labsupport.core.errors import LabError
from labsupport.methods.pruning.criteria import Criterion, Scores
from labsupport.methods.surgery import channel_groups, narrowed, remove_channels

Widths = Mapping[str, int]  # channels that are left, by a layer that makes them
Retrain = Callable[[nn.Module], nn.Module]


def prune(
    model: nn.Module, input_shape: tuple[int, ...], widths: Widths, criterion: Criterion
) -> nn.Module:
    """A smaller copy with the channels that score highest, `widths` of them; no training.

    Raises LabError as `surgery.narrowed` does.
    """
    chosen = narrowed(channel_groups(model, input_shape), widths)
    scores = criterion(model, [g for layer, g in chosen.items() if widths[layer] < g.channels])
    return prune_by_scores(model, input_shape, widths, scores)


def prune_by_scores(
    model: nn.Module, input_shape: tuple[int, ...], widths: Widths, scores: Scores
) -> nn.Module:
    """As `prune`, with scores that are there already."""
    chosen = narrowed(channel_groups(model, input_shape), widths)
    removed = {
        layer: lowest(scores[group.name], group.channels - widths[layer])
        for layer, group in chosen.items()
        if widths[layer] < group.channels
    }
    return remove_channels(model, input_shape, removed)


def prune_along(
    path: Iterable[Widths],
    model: nn.Module,
    input_shape: tuple[int, ...],
    criterion: Criterion,
    retrain: Retrain,
) -> Iterator[nn.Module]:
    """The network at each stop of a path: pruned from the one before, then retrained.

    Pruning replaces the weights, so each retraining needs an optimizer of its own, as `fit` has.
    """
    for widths in path:
        model = retrain(prune(model, input_shape, widths, criterion))
        yield model


def one_at_a_time(start: Widths, end: Widths) -> list[dict[str, int]]:
    """From `start` to `end` by one channel in each step, layer by layer.

    Raises LabError for an end that is wider than the start, or has another layer.
    """
    _check_narrower(start, end)
    now, path = dict(start), []
    for layer in end:
        while now[layer] > end[layer]:
            now[layer] -= 1
            path.append(dict(now))
    return path


def by_fraction(start: Widths, end: Widths, fraction: float) -> list[dict[str, int]]:
    """From `start` to `end`, all layers at once, each time by a fraction of what is left.

    Raises LabError for a fraction outside (0, 1), or an end as `one_at_a_time` does.
    """
    _check_narrower(start, end)
    if not 0 < fraction < 1:
        raise LabError(f"a fraction of {fraction}", "give a number between 0 and 1")
    now, path = {layer: start[layer] for layer in end}, []
    while any(now[layer] > width for layer, width in end.items()):
        now = {n: max(end[n], min(w - 1, round(w * (1 - fraction)))) for n, w in now.items()}
        path.append(dict(now))
    return path


def _check_narrower(start: Widths, end: Widths) -> None:
    for layer, width in end.items():
        if width not in range(1, start.get(layer, 0) + 1):
            problem = f"{layer} cannot end with {width} of {start.get(layer, 'no')} channels"
            raise LabError(problem, "keep at least one and at most all")


def lowest(scores: Tensor, count: int) -> list[int]:
    """The `count` channels of the lowest scores, the first of equal ones.

    Raises LabError where a score is NaN.
    """
    if scores.isnan().any():
        raise LabError("a score is NaN", "look for NaN in the weights or the loss")
    return torch.argsort(scores, stable=True)[:count].tolist()
