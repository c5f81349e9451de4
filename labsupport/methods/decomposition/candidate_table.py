"""Candidates: what some decompositions of each layer would miss, and what they would cost."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import cast

import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from labsupport.core.errors import LabError
from labsupport.methods.decomposition.cp import CP
from labsupport.methods.decomposition.pieces import Decomposition, Layer, is_depthwise
from labsupport.methods.decomposition.rank_one import full_rank
from labsupport.methods.decomposition.svd import SVD
from labsupport.methods.decomposition.tucker import Tucker
from labsupport.network.calls import kind_of, run
from labsupport.network.cost import batch_cost, parameter_count
from labsupport.network.modes import evaluating
from labsupport.network.weights import weighted_layers

COSTS = ["parameters", "macs", "seconds"]
COLUMNS = ["layer", "decomposition", "error", *COSTS]
SHARES = (1 / 6, 1 / 3, 1 / 2, 2 / 3)  # of channels and units, as ranks
POSITIONS = 9  # terms of CP at least, if there can be as many

Option = tuple[str, nn.Module, Sequence[Decomposition]]
Times = Mapping[str, float]
Seconds = Callable[[Mapping[str, nn.Module], Tensor], Times]


def count_no_seconds(layers: Mapping[str, nn.Module], _x: Tensor) -> Times:
    """NaN for each: nothing is clocked."""
    return dict.fromkeys(layers, math.nan)


def options(layer: nn.Module, shares: Sequence[float] = SHARES) -> list[Decomposition]:
    """Decompositions to try: ranks at some shares of a layer's inputs and outputs.

    SVD of a linear layer or a 1x1 convolution; of another convolution SVD, Tucker with each pair of
    ranks that there can be, and CP with as many terms as it has inputs or outputs, whichever are
    fewer, but no fewer than 9. None of depthwise convolutions and other layers, which are best left
    as they are.
    """
    if kind_of(layer) not in ("Linear", "Conv2d") or is_depthwise(layer):
        return []
    rows, columns, *kernel = cast(Layer, layer).weight.shape
    if not rows * columns:
        return []
    positions = math.prod(kernel)
    rows //= layer.groups if isinstance(layer, nn.Conv2d) else 1
    outer = _ranks(min(rows, columns * positions), shares)
    if positions == 1:
        return [SVD(rank) for rank in outer]
    inner = _ranks(min(columns, rows * positions), shares)
    both = [(a, b) for a in inner for b in outer if a <= b * positions and b <= a * positions]
    pairs = [Tucker(*ranks) for ranks in both]
    terms = min(full_rank((rows, columns, *kernel)), max(POSITIONS, min(rows, columns)))
    return [*map(SVD, outer), *pairs, CP(terms)]


def _ranks(full: int, shares: Sequence[float]) -> list[int]:
    return sorted({max(1, round(full * share)) for share in shares})


def candidates(
    network: nn.Module,
    x: Tensor,
    tried: Mapping[str, Sequence[Decomposition]],
    seconds: Seconds = count_no_seconds,
) -> pd.DataFrame:
    """A row for each layer as it is (decomposition None), and one for each that is `tried`.

    Columns: layer, decomposition, error (the squared error of the layer's output on a batch of
    training images `x`, in those of its variation), parameters, macs (of an image), seconds (what
    `seconds(modules by name, their input)` says of a layer and its decompositions, such as their
    times when they are clocked in turns). Raises LabError as `decompose` does, for a layer that no
    image reaches, and for fewer than two images.
    """
    if len(x) < 2:
        raise LabError(f"candidates judged by {len(x)} images", "give several: outputs must vary")
    network = copy.deepcopy(network).eval()
    layers: Iterator[Option] = weighted_layers(network, tried)
    given = list(layers)
    seen = _inputs(network, x, {name: layer for name, layer, _ in given})
    rows = [
        row for name, layer, hows in given for row in _rows(name, layer, hows, seen[name], seconds)
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


@torch.no_grad()
def _rows(
    name: str,
    layer: nn.Module,
    hows: Sequence[Decomposition],
    calls: list[Tensor],
    seconds: Seconds,
) -> Iterator[dict[str, object]]:
    made = {str(how): how(layer, name).eval() for how in hows}
    times = [seconds({str(None): layer} | made, x) for x in calls]
    for how in (None, *hows):
        module = layer if how is None else made[str(how)]
        yield {
            "layer": name,
            "decomposition": how,
            "error": 0.0 if how is None else output_error(layer, module, calls),
            "parameters": parameter_count(module),
            "macs": sum(batch_cost(module, x[:1]).fp_macs for x in calls),
            "seconds": sum(of_call[str(how)] for of_call in times),
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
