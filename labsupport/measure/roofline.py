"""Where time goes, layer by layer, against what the machine could do.

The roofline (Williams, Waterman and Patterson, CACM 2009): a layer that does few MACs per byte is
bound by memory, one that does many by arithmetic. Memory is a ladder of caches, so the slope of a
layer's roof is the rate at which as many bytes as it moves can be moved again and again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from labsupport.core.errors import LabError
from labsupport.measure.clocking import clock_turns, inference
from labsupport.measure.latency import clock_calls
from labsupport.network.calls import is_leaf, kind_of
from labsupport.network.cost import batch_cost
from labsupport.network.counting import Call, count_calls
from labsupport.network.modes import evaluating
from labsupport.runtimes.runtime import runtime_of

WHOLE = "whole model"
# Rows, inputs and outputs of the linear layers whose fastest is the peak of arithmetic.
PRODUCTS = ((1024, 1024, 1024), (256, 1024, 1024), (64, 1024, 1024), (256, 256, 256))
STREAMS = tuple(2**power for power in range(15, 28))  # 32 KB to 128 MB


@dataclass(frozen=True)
class Peaks:
    """What a machine reaches at its best.

    `gmacs_per_s_clocked` is the rate of the fastest product, `streams_clocked` the rate in GB/s of
    a stream by its bytes: short streams stay in a cache, long ones come from main memory.
    """

    gmacs_per_s_clocked: float
    streams_clocked: Mapping[int, float]

    def gbytes_per_s(self, moved_bytes: float = math.inf) -> float:
        """Most GB/s for a layer that moves so many bytes; without an argument, of main memory.

        The rate of the longest stream that is no longer, or of a longer one that was faster: to
        move less is never slower, it is the call that makes a very short stream look slow.
        """
        sizes = self.streams_clocked
        nearest = max((size for size in sizes if size <= moved_bytes), default=min(sizes))
        return max(rate for size, rate in sizes.items() if size >= nearest)

    def roof_gmacs(self, intensity: float, moved_bytes: float = math.inf) -> float:
        """Most GMAC/s at so many MACs per byte; without `moved_bytes` for data in main memory."""
        return min(self.gmacs_per_s_clocked, intensity * self.gbytes_per_s(moved_bytes))

    def ridge(self, moved_bytes: float = math.inf) -> float:
        """MACs per byte from which on arithmetic is the limit."""
        return self.gmacs_per_s_clocked / self.gbytes_per_s(moved_bytes)


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


def machine_peaks(threads: int = 1, *, device: str = "cpu", rounds: int = 5) -> Peaks:
    """Clock linear layers of several shapes and streams of several lengths; the best call counts.

    A stream is a copy, which reads and writes, or a dot product, which only reads.
    """
    best = partial(_best_seconds, threads=threads, device=torch.device(device), rounds=rounds)
    with torch.inference_mode():
        arithmetic = max(math.prod(shape) / best(_product(shape, device)) for shape in PRODUCTS)
        streams = {n: max(n / best(call) for call in _streams(n, device)) / 1e9 for n in STREAMS}
    return Peaks(arithmetic / 1e9, streams)


def _layer_call(name: str, call: Call) -> LayerCall:
    match call.inputs, call.output:
        case (Tensor() as x, *_), Tensor() as output:
            held = runtime_of(call.module).resident_bytes(call.module)
            moved = held + x.nbytes + output.nbytes
            # Cloned, as a later layer that works in place would overwrite it.
            return LayerCall(name, call.module, x.clone(), call.cost.fp_macs, moved)
        case _:
            raise LabError(f"layer {name} does not map one tensor to one tensor")


def _product(shape: tuple[int, int, int], device: str) -> Callable[[], object]:
    rows, inputs, outputs = shape
    x, weight = torch.ones(rows, inputs, device=device), torch.ones(outputs, inputs, device=device)
    return lambda: nn.functional.linear(x, weight)


def _streams(moved_bytes: int, device: str) -> list[Callable[[], object]]:
    """A copy and a dot product of two vectors that hold so many bytes together."""
    source, target = torch.ones(2, moved_bytes // 8, device=device).unbind()
    return [lambda: target.copy_(source), lambda: source @ target]


def _best_seconds(
    call: Callable[[], object], threads: int, device: torch.device, rounds: int
) -> float:
    clocked = clock_calls({"peak": call}, rounds=rounds, repeats=3, threads=threads, device=device)
    return float(clocked.samples.query("name == 'peak'")["ns"].min()) / 1e9


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
