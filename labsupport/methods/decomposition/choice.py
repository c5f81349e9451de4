"""Which decomposition for which layer: tables of candidates, and the best choice for a budget."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from labsupport.core.errors import LabError
from labsupport.methods.decomposition.cp import CP
from labsupport.methods.decomposition.pieces import Decomposition
from labsupport.methods.decomposition.rank_one import full_rank
from labsupport.methods.decomposition.svd import SVD
from labsupport.methods.decomposition.tucker import Tucker
from labsupport.network.calls import run
from labsupport.network.cost import batch_cost, parameter_count
from labsupport.network.modes import evaluating
from labsupport.network.weights import weighted_layers

COSTS = ["parameters", "macs", "seconds"]
COLUMNS = ["layer", "decomposition", "error", *COSTS]
MOST = 2**14  # choices for some layers that are carried on to the next one
SHARES = (1 / 6, 1 / 3, 1 / 2, 2 / 3)  # of channels and units, as ranks
POSITIONS = 9  # terms of CP at least, if there can be as many
STEPS = 40  # from the seconds of the layers as they are to the least

Option = tuple[str, nn.Module, Sequence[Decomposition]]
Seconds = Callable[[nn.Module, Tensor], float]


def count_no_seconds(_layer: nn.Module, _x: Tensor) -> float:
    """NaN: nothing is clocked."""
    return float("nan")


def options(layer: nn.Module, shares: Sequence[float] = SHARES) -> list[Decomposition]:
    """Decompositions to try: ranks at some shares of a layer's inputs and outputs.

    SVD of a linear layer or a 1x1 convolution; of another convolution SVD, Tucker with each pair of
    ranks, and CP with as many terms as it has inputs or outputs, whichever are fewer. None of
    depthwise convolutions and other layers, which are best left as they are.
    """
    if not isinstance(layer, nn.Linear | nn.Conv2d) or not layer.weight.numel():
        return []
    rows, columns, *kernel = layer.weight.shape
    positions = math.prod(kernel)
    groups = layer.groups if isinstance(layer, nn.Conv2d) else 1
    if 1 < groups == columns * groups:
        return []
    rows //= groups
    outer = _ranks(min(rows, columns * positions), shares)
    if positions == 1:
        return [SVD(rank) for rank in outer]
    inner = _ranks(min(columns, rows * positions), shares)
    pairs = [Tucker(a, b) for a in inner for b in outer]
    terms = min(full_rank((rows, columns, *kernel)), max(POSITIONS, min(rows, columns)))
    return [*map(SVD, outer), *pairs, CP(terms)]


def _ranks(full: int, shares: Sequence[float]) -> list[int]:
    return sorted({max(1, round(full * share)) for share in shares})


def candidates(
    network: nn.Module,
    x: Tensor,
    options: Mapping[str, Sequence[Decomposition]],
    seconds: Seconds = count_no_seconds,
) -> pd.DataFrame:
    """A row for each layer as it is (decomposition None), and one for each of its options.

    Columns: layer, decomposition, error (the squared error of the layer's output on a batch of
    training images `x`, in those of its variation), parameters, macs (of an image), seconds (what
    `seconds(layer, its input)` says, such as the clocked time of a call). Raises LabError as
    `decompose` does, and for a layer that no image reaches.
    """
    network = copy.deepcopy(network).eval()
    layers: Iterator[Option] = weighted_layers(network, options)
    given = list(layers)
    seen = _inputs(network, x, {name: layer for name, layer, _ in given})
    rows = [
        _row(name, layer, how, seen[name], seconds)
        for name, layer, hows in given
        for how in (None, *hows)
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


@torch.no_grad()
def _row(
    name: str, layer: nn.Module, how: Decomposition | None, calls: list[Tensor], seconds: Seconds
) -> dict[str, object]:
    made = layer if how is None else how(layer, name).eval()
    return {
        "layer": name,
        "decomposition": how,
        "error": 0.0 if how is None else output_error(layer, made, calls),
        "parameters": parameter_count(made),
        "macs": sum(batch_cost(made, x[:1]).fp_macs for x in calls),
        "seconds": sum(seconds(made, x) for x in calls),
    }


def output_error(layer: nn.Module, made: nn.Module, calls: Sequence[Tensor]) -> float:
    """The squared error of outputs of a layer for some inputs, in those of their variation."""
    missing, varied = 0.0, 0.0
    for x in calls:
        expected = layer(x)
        missing += float((made(x) - expected).square().sum())
        varied += float((expected - expected.mean(0)).square().sum())
    return missing / varied if varied > 0 else float(missing > 0)


def _inputs(
    network: nn.Module, x: Tensor, layers: Mapping[str, nn.Module]
) -> dict[str, list[Tensor]]:
    """What enters some layers, a tensor for each call."""
    seen: dict[str, list[Tensor]] = {name: [] for name in layers}
    with ExitStack() as hooks, evaluating(network), torch.no_grad():
        for name, layer in layers.items():
            hooks.enter_context(_noted(layer, seen[name]))
        run(network, x)
    for name, calls in seen.items():
        if not calls:
            raise LabError(f"no image reaches layer {name}", "leave it out")
    return seen


def _noted(layer: nn.Module, into: list[Tensor]) -> RemovableHandle:
    return layer.register_forward_pre_hook(lambda _, inputs: into.append(inputs[0].clone()))


def choose(table: pd.DataFrame, budget: float, by: str = "macs") -> dict[str, Decomposition]:
    """The decompositions by layer with the least summed error whose `by` sum to at most `budget`.

    `by` is a column: macs, seconds or parameters, of the table's layers together. Layers that are
    best left as they are have no entry. One row of each layer: a multiple-choice knapsack, solved
    layer by layer (Kellerer et al. 2004, "Knapsack problems", section 11.5), exactly unless very
    many choices are of use. Raises LabError for another column, one that was not filled, and a
    budget that is no number or that no choice keeps.
    """
    if by not in COSTS or math.isnan(budget):
        raise LabError(f"a budget of {budget} {by}", f"give a number of {', '.join(COSTS)}")
    if not np.isfinite(table[[by, "error"]].to_numpy(float)).all():
        raise LabError(f"the table has no {by} for each candidate", "have them clocked, or counted")
    layers = [rows for _, rows in table.groupby("layer", sort=False)]
    least = sum(float(rows[by].min()) for rows in layers)
    if least > budget:
        problem = f"the table's layers take at least {least:g} {by}, more than {budget:g}"
        raise LabError(problem, "raise the budget, or give candidates that take less")
    choices = _Choices(np.zeros(1), np.zeros(1), np.zeros((1, 0), int))
    for rows in layers:
        choices = choices.with_layer(rows[by].to_numpy(float), rows["error"].to_numpy(float))
        choices = choices.useful(budget)
    picked = choices.picks[np.argmin(choices.error)]
    chosen = [rows.iloc[pick] for rows, pick in zip(layers, picked, strict=True)]
    return {
        row["layer"]: row["decomposition"] for row in chosen if row["decomposition"] is not None
    }


def remaining(table: pd.DataFrame, macs: float, times: float) -> float:
    """What a table's layers may take, of a network of so many MACs, to leave `times` fewer.

    Below 0 where the other layers alone take more.
    """
    return macs / times - (macs - float(table.groupby("layer")["macs"].first().sum()))


def taken(table: pd.DataFrame, chosen: Mapping[str, Decomposition], by: str = "macs") -> float:
    """What a table's layers take once some are decomposed as chosen."""
    rows = zip(table["layer"], table["decomposition"], strict=True)
    return float(table.loc[[chosen.get(name) == how for name, how in rows], by].sum())


def choose_timed(table: pd.DataFrame, macs: float, times: float = 1) -> dict[str, Decomposition]:
    """The decompositions that `choose` finds for the most seconds at which `macs` are kept, too.

    The layers take at least `times` less time, or the least there can be. Where even the fastest
    take more MACs, as layers of few channels may, the budget of MACs alone counts. Raises LabError
    as `choose` does.
    """
    layers = table.groupby("layer")["seconds"]
    least = float(layers.min().sum())
    most = max(least, float(layers.first().sum()) / times)
    for part in np.linspace(1, 0, STEPS):
        chosen = choose(table, least * (1 + 1e-9) + part * (most - least), "seconds")
        if taken(table, chosen) <= macs:
            return chosen
    return choose(table, macs)


def in_shares(table: pd.DataFrame) -> pd.DataFrame:
    """The decompositions of a table by kind, MACs and clocked seconds in those of their layer.

    Columns: layer, kind (SVD, Tucker and so on), error, share_of_macs, share_of_time_clocked, and
    excess_clocked: how many times the time that its MACs promise a decomposition takes.
    """
    own = table.groupby("layer")[["macs", "seconds"]].transform("first")
    kinds = [type(how).__name__ for how in table["decomposition"]]
    shares = {
        "share_of_macs": table["macs"] / own["macs"],
        "share_of_time_clocked": table["seconds"] / own["seconds"],
    }
    shares["excess_clocked"] = shares["share_of_time_clocked"] / shares["share_of_macs"]
    frame = table[["layer", "error"]].assign(kind=kinds, **shares)
    rows = frame[table["decomposition"].notna()].reset_index(drop=True)
    return rows[["layer", "kind", "error", *shares]]


@dataclass(frozen=True)
class _Choices:
    """Choices for the layers so far: what each takes, its error, and its row of each layer."""

    taken: NDArray[np.float64]
    error: NDArray[np.float64]
    picks: NDArray[np.int_]

    def with_layer(self, taken: NDArray[np.float64], error: NDArray[np.float64]) -> _Choices:
        """Each choice with each row of one more layer."""
        before = np.repeat(np.arange(len(self.taken)), len(taken))
        row = np.tile(np.arange(len(taken)), len(self.taken))
        return _Choices(
            self.taken[before] + taken[row],
            self.error[before] + error[row],
            np.column_stack([self.picks[before], row]),
        )

    def useful(self, budget: float) -> _Choices:
        """Those within the budget than which no other takes as little at as little error."""
        order = np.lexsort((self.error, self.taken))
        order = order[self.taken[order] <= budget * (1 + 1e-12)]
        best_before = np.minimum.accumulate(np.r_[np.inf, self.error[order][:-1]])
        order = order[self.error[order] < best_before]
        if len(order) > MOST:  # evenly spread, the cheapest and the best among them
            order = order[np.linspace(0, len(order) - 1, MOST).round().astype(int)]
        return _Choices(self.taken[order], self.error[order], self.picks[order])
