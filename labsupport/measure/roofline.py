"""Where time goes, layer by layer, against what the machine could do.

The roofline (Williams, Waterman and Patterson, CACM 2009): a layer that does few MACs per byte is
bound by memory, one that does many by arithmetic. Bytes are those of main memory: a layer whose
weights fit in a cache can stand above that slope.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from labsupport.core.errors import LabError
from labsupport.measure.clocking import Turn, clock_turns
from labsupport.network.calls import is_leaf, kind_of
from labsupport.network.cost import batch_cost
from labsupport.network.counting import Call, count_calls
from labsupport.network.modes import evaluating

WHOLE = "whole model"
MATRIX = 1024
COPIED_FLOATS = 2**25


@dataclass(frozen=True)
class Peaks:
    """What a machine reaches on few threads at its best: a large product, a large copy."""

    gmacs_per_s_clocked: float
    gbytes_per_s_clocked: float

    def roof_gmacs(self, intensity: float) -> float:
        """Most GMAC/s at so many MACs per byte."""
        return min(self.gmacs_per_s_clocked, intensity * self.gbytes_per_s_clocked)

    @property
    def ridge_clocked(self) -> float:
        """MACs per byte from which on arithmetic is the limit."""
        return self.gmacs_per_s_clocked / self.gbytes_per_s_clocked


@dataclass(frozen=True)
class LayerCall:
    """One call of a layer: what goes in, and what it costs for the whole batch."""

    name: str
    layer: nn.Module
    x: Tensor
    macs: float
    moved_bytes: int

    @property
    def intensity(self) -> float:
        """MACs per byte moved."""
        return self.macs / self.moved_bytes


def layer_calls(model: nn.Module, x: Tensor) -> dict[str, LayerCall]:
    """Every call of a layer on the batch x in order, by a name of its own, with its real input.

    Bytes moved are the least possible: weights and input read once, output written once
    (a reshape, which moves nothing, is charged like a copy).
    """
    calls: dict[str, LayerCall] = {}

    def record(call: Call) -> None:
        if is_leaf(call.module):
            unique = call.name if call.name not in calls else f"{call.name} (call {len(calls)})"
            calls[unique] = _layer_call(unique, call)

    count_calls(model, x, record)
    return calls


def profile_layers(
    model: nn.Module, x: Tensor, *, threads: int = 1, rounds: int = 20, calls: int = 10
) -> pd.DataFrame:
    """Clock each layer by itself on its real input, and the whole model beside them.

    Columns: name, kind, macs, moved_bytes, macs_per_byte, median_ms, iqr_ms, share_pct_clocked
    (of the sum of all layers), gmacs_per_s_clocked. The last row, "whole model", shows what the
    sum leaves out (what torch does between layers) and what it adds (each layer by itself finds
    its weights in the cache; in the model, the other layers' have pushed them out). Raises
    LabError when x does not fit.
    """
    layers = layer_calls(model, x)
    turns = {name: _turn(call.layer, call.x, threads) for name, call in layers.items()}
    with evaluating(model), torch.inference_mode():
        clocked = clock_turns(
            {**turns, WHOLE: _turn(model, x, threads)}, rounds=rounds, calls=calls
        )
    times = {row["name"]: row for row in clocked.table.to_dict("records")}
    moved = sum(call.moved_bytes for call in layers.values())
    whole = LayerCall(WHOLE, model, x, batch_cost(model, x).fp_macs, moved)
    table = pd.DataFrame([_row(call, times[call.name]) for call in [*layers.values(), whole]])
    total = table["median_ms"].iloc[:-1].sum()
    return table.assign(share_pct_clocked=100 * table["median_ms"] / total)


def roofline(profile: pd.DataFrame, peaks: Peaks) -> pd.DataFrame:
    """The layers of a profile that multiply, with what the roof allows and how much they reach.

    Adds roof_gmacs_per_s_clocked, of_roof_pct_clocked and bound_clocked ("memory" or
    "arithmetic").
    """
    table = profile[(profile["macs"] > 0) & (profile["name"] != WHOLE)].reset_index(drop=True)
    roof = table["macs_per_byte"].map(peaks.roof_gmacs)
    in_memory = table["macs_per_byte"] < peaks.ridge_clocked
    return table.assign(
        roof_gmacs_per_s_clocked=roof,
        of_roof_pct_clocked=100 * table["gmacs_per_s_clocked"] / roof,
        bound_clocked=in_memory.map({True: "memory", False: "arithmetic"}),
    )


def machine_peaks(threads: int = 1, *, device: str = "cpu", rounds: int = 5) -> Peaks:
    """Clock a product of two matrices of 1024 and a copy of 128 MB; the best call counts.

    A copy reads and writes, so it moves twice its size.
    """
    place = torch.device(device)
    a, b = torch.ones(2, MATRIX, MATRIX, device=place).unbind()
    source, target = torch.ones(2, COPIED_FLOATS, device=place).unbind()
    with torch.inference_mode():
        product = _best_seconds(lambda: a @ b, threads, place, rounds)
        copy = _best_seconds(lambda: target.copy_(source), threads, place, rounds)
    return Peaks(MATRIX**3 / product / 1e9, 2 * source.nbytes / copy / 1e9)


def _layer_call(name: str, call: Call) -> LayerCall:
    match call.inputs, call.output:
        case (Tensor() as x, *_), Tensor() as output:
            weights = sum(tensor.nbytes for tensor in call.module.parameters())
            moved = weights + x.nbytes + output.nbytes
            # Cloned, as a later layer that works in place would overwrite it.
            return LayerCall(name, call.module, x.clone(), call.cost.fp_macs, moved)
        case _:
            raise LabError(f"layer {name} does not map one tensor to one tensor")


def _best_seconds(
    call: Callable[[], object], threads: int, device: torch.device, rounds: int
) -> float:
    clocked = clock_turns({"peak": Turn(call, 1, threads, device)}, rounds=rounds, calls=3)
    return float(clocked.samples["ns"].min()) / 1e9


def _turn(layer: nn.Module, x: Tensor, threads: int) -> Turn:
    return Turn(lambda: layer(x), len(x), threads, x.device)


def _row(call: LayerCall, times: dict[Hashable, Any]) -> dict[str, object]:
    return {
        "name": call.name,
        "kind": kind_of(call.layer),
        "macs": call.macs,
        "moved_bytes": call.moved_bytes,
        "macs_per_byte": call.intensity,
        "median_ms": times["median_ms"],
        "iqr_ms": times["iqr_ms"],
        "gmacs_per_s_clocked": call.macs / times["median_ms"] / 1e6,
    }
