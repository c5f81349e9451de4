"""Where time goes, layer by layer, against what the machine could do.

The roofline (Williams, Waterman and Patterson, CACM 2009): a layer that does few MACs per byte is
bound by memory, one that does many by arithmetic. What fits in a cache moves faster, so each layer
stands under the roof of as many bytes as it moves.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from labsupport.core.errors import LabError
from labsupport.measure.clocking import clock_turns, inference
from labsupport.measure.peaks import Peaks, machine_peaks
from labsupport.network.calls import is_leaf, kind_of
from labsupport.network.cost import batch_cost
from labsupport.network.counting import ModuleCall, count_calls
from labsupport.network.modes import evaluating
from labsupport.runtimes.runtime import runtime_of

__all__ = [
    "WHOLE",
    "LayerCall",
    "Peaks",
    "layer_calls",
    "machine_peaks",
    "profile_layers",
    "roofline",
]

WHOLE = "whole model"


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

    Bytes moved are the least possible: weights, buffers and input read once, output written once
    (a reshape, which moves nothing, is charged like a copy).
    """
    calls: dict[str, LayerCall] = {}

    def record(call: ModuleCall) -> None:
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
    turns = {n: inference(call.layer, call.x, threads=threads) for n, call in layers.items()}
    with evaluating(model), torch.inference_mode():
        turns[WHOLE] = inference(model, x, threads=threads)
        clocked = clock_turns(turns, rounds=rounds, calls=calls)
    times = {row["name"]: row for row in clocked.table.to_dict("records")}
    moved = sum(call.moved_bytes for call in layers.values())
    whole = LayerCall(WHOLE, model, x, batch_cost(model, x).fp_macs, moved)
    table = pd.DataFrame([_row(call, times[call.name]) for call in [*layers.values(), whole]])
    total = table["median_ms"].iloc[:-1].sum()
    return table.assign(share_pct_clocked=100 * table["median_ms"] / total)


def roofline(profile: pd.DataFrame, peaks: Peaks) -> pd.DataFrame:
    """The layers of a profile that multiply, with what the roof allows and how much they reach.

    Each layer has the roof of its own bytes. Adds gbytes_per_s_clocked (the slope of the roof),
    roof_gmacs_per_s_clocked, of_roof_pct_clocked and bound_clocked ("memory", caches included, or
    "arithmetic").
    """
    table = profile[(profile["macs"] > 0) & (profile["name"] != WHOLE)].reset_index(drop=True)
    slope = table["moved_bytes"].map(peaks.gbytes_per_s)
    roof = (table["macs_per_byte"] * slope).clip(upper=peaks.gmacs_per_s_clocked)
    in_memory = roof < peaks.gmacs_per_s_clocked
    return table.assign(
        gbytes_per_s_clocked=slope,
        roof_gmacs_per_s_clocked=roof,
        of_roof_pct_clocked=100 * table["gmacs_per_s_clocked"] / roof,
        bound_clocked=in_memory.map({True: "memory", False: "arithmetic"}),
    )


def _layer_call(name: str, call: ModuleCall) -> LayerCall:
    match call.inputs, call.output:
        case (Tensor() as x, *_), Tensor() as output:
            held = runtime_of(call.module).resident_bytes(call.module)
            moved = held + x.nbytes + output.nbytes
            # Cloned, as a later layer that works in place would overwrite it.
            return LayerCall(name, call.module, x.clone(), call.cost.fp_macs, moved)
        case _:
            raise LabError(f"layer {name} does not map one tensor to one tensor")


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
