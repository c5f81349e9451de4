"""A search for the cheapest shape that is still accurate enough, from aggressive to mild."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import itemgetter

import pandas as pd
from torch import nn

from labsupport.core.errors import LabError
from labsupport.methods.pruning.criteria import Criterion
from labsupport.methods.pruning.schedules import Widths, prune_by_scores
from labsupport.methods.surgery import channel_groups, narrowed
from labsupport.training import Trained


@dataclass(frozen=True)
class Stage:
    """Some training, and the validation accuracy below which a shape is given up after it."""

    retrain: Callable[[nn.Module], Trained]
    floor: float


@dataclass(frozen=True)
class Found:
    """What a search came to: the network (None where no shape would do) and its widths.

    `table` has a row for each shape that was tried, cheapest first: a column for each layer's
    width, cost, stages that were trained, val_accuracy after the last one, seconds of training
    (clocked when it took place, even where a stage reads its networks from a cache), chosen.
    """

    model: nn.Module | None
    widths: dict[str, int] | None
    table: pd.DataFrame


def search(
    model: nn.Module,
    input_shape: tuple[int, ...],
    candidates: Iterable[Widths],
    criterion: Criterion,
    cost: Callable[[Widths], float],
    stages: Sequence[Stage],
    accuracy: Callable[[nn.Module], float],
) -> Found:
    """The first shape that passes all stages, tried from the lowest cost to the highest.

    Every shape is pruned from `model` itself, by one scoring. `accuracy` has to look at validation
    data; early stages with a lower floor and little training give up most shapes quickly. Raises
    LabError without a candidate or a stage.
    """
    costs = sorted(((cost(widths), dict(widths)) for widths in candidates), key=itemgetter(0))
    if not costs or not stages:
        raise LabError("nothing to search in", "give candidates and a stage of training")
    groups = channel_groups(model, input_shape)
    layers = {name: g for _, widths in costs for name, g in narrowed(groups, widths).items()}
    scores = criterion(model, list(layers.values()))
    rows: list[dict[str, object]] = []
    for its_cost, widths in costs:
        smaller, trained, reached = _through(
            stages, prune_by_scores(model, input_shape, widths, scores), accuracy
        )
        chosen = reached >= stages[-1].floor and len(trained) == len(stages)
        result = {"cost": its_cost, "stages": len(trained), "val_accuracy": reached}
        rows.append({**widths, **result, "seconds": sum(trained), "chosen": chosen})
        if chosen:
            return Found(smaller, widths, pd.DataFrame(rows))
    return Found(None, None, pd.DataFrame(rows))


def _through(
    stages: Sequence[Stage], model: nn.Module, accuracy: Callable[[nn.Module], float]
) -> tuple[nn.Module, list[float], float]:
    """The network after the stages that it got to, the seconds of each, and its last accuracy."""
    seconds, reached = [], 0.0
    for stage in stages:
        trained = stage.retrain(model)
        model, reached = trained.model, accuracy(trained.model)
        seconds.append(trained.seconds)
        if reached < stage.floor:
            break
    return model, seconds, reached
