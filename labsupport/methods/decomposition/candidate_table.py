"""Candidates: what some decompositions of each layer would miss, and what they would cost."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack

import pandas as pd
import torch
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
SHARES = (1 / 6, 1 / 3, 1 / 2, 2 / 3)  # of channels and units, as ranks
POSITIONS = 9  # terms of CP at least, if there can be as many

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
