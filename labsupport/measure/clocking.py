"""The one clock: calls in turn, in shuffled rounds, each round on copies of its own.

Where a copy of a network lies in memory changes its time by some percent, for as long as it lies
there (T. Mytkowicz et al., "Producing wrong data without doing anything obviously wrong!", ASPLOS
2009). So a network is clocked as several copies, one a round, and intervals are over rounds. Every
clocking also clocks the anchor, LeNet-5 on one image: milliseconds of two clockings cannot be
compared, ratios to the anchor can.
"""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from labsupport.core.errors import LabError
from labsupport.measure.anchor import ANCHOR, make_anchor
from labsupport.measure.intervals import Interval, median_interval
from labsupport.network.calls import run, synchronize
from labsupport.network.modes import no_garbage_collection, on_threads
from labsupport.runtimes.runtime import TORCH, Runtime, runtime_of

ANCHOR_CALLS = 10
CPU = torch.device("cpu")
LARGEST_GAP = 2**18  # bytes left between the copies of one round and the next

Call = Callable[[], object]


@dataclass(frozen=True)
class Turn:
    """What is clocked in turn with others.

    `make` gives a call for each round, of a fresh copy where a network is called. A call handles
    `batch` images on `threads` threads of `runtime`.
    """

    make: Callable[[], Call]
    batch: int = 1
    threads: int = 1
    device: torch.device = CPU
    runtime: Runtime = TORCH


@dataclass(frozen=True)
class Clocking:
    """Times of interleaved calls.

    `samples` has a row per clocked call (name, round, ns), those of the anchor among them. `turns`
    are what was clocked, by name; the first is the base of the others.
    """

    samples: pd.DataFrame
    turns: Mapping[str, Turn]

    @property
    def base(self) -> str:
        """The name that others are compared with."""
        return next(iter(self.turns))

    @property
    def table(self) -> pd.DataFrame:
        """A row per name: median over rounds with its interval, spread of all calls, ratios."""
        return pd.DataFrame([self._row(name, turn) for name, turn in self.turns.items()])

    def median_ms(self, name: str) -> float:
        """A call's time, the median over rounds. Raises LabError for a name not clocked."""
        return self.interval_ms(name).value

    def iqr_ms(self, name: str) -> float:
        """The interquartile range of all calls. Raises LabError for a name not clocked."""
        low, high = self._ms(name).quantile([0.25, 0.75])
        return float(high - low)

    def interval_ms(self, name: str) -> Interval:
        """The median over rounds of a call's time, with its 95 % interval, in milliseconds."""
        return median_interval(self._round_medians(name))

    def ratio(self, slower: str, faster: str) -> Interval:
        """How many times longer `slower` takes than `faster`.

        Each round gives the ratio of its two medians, taken within moments of each other on copies
        of its own; the value is the median over rounds.
        """
        return median_interval(self._round_medians(slower) / self._round_medians(faster))

    def _ms(self, name: str) -> pd.Series[float]:
        times = self.samples.loc[self.samples["name"] == name, "ns"] / 1e6
        if times.empty:
            raise LabError(f"{name!r} was not clocked", f"choose from {', '.join(self.turns)}")
        return times

    def _round_medians(self, name: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        times = self._ms(name)
        return times.groupby(self.samples.loc[times.index, "round"]).median().to_numpy()

    def _row(self, name: str, turn: Turn) -> dict[str, object]:
        times, interval = self._ms(name), self.interval_ms(name)
        p05, p95 = times.quantile([0.05, 0.95])
        return {
            "name": name,
            "batch": turn.batch,
            "threads": turn.threads,
            "calls": len(times),
            "median_ms": interval.value,
            "low_ms": interval.low,
            "high_ms": interval.high,
            "iqr_ms": self.iqr_ms(name),
            "p05_ms": p05,
            "p95_ms": p95,
            "image_ms": interval.value / turn.batch,
            "images_fps": 1000 * turn.batch / interval.value,
            **self.ratio(name, ANCHOR).columns("anchor_ratio"),
            **self.ratio(name, self.base).columns("base_ratio"),
        }


def clock_turns(
    turns: Mapping[str, Turn], *, rounds: int = 20, calls: int = 10, warmup: int = 2
) -> Clocking:
    """Clock turns and the anchor against each other: the one clock all others are built on.

    Every round makes the calls anew and gives each turn `warmup` of them off the clock and `calls`
    on it. The order changes from round to round, so that no turn profits from a quiet machine,
    from its place in memory, or from its neighbor. Raises LabError for a turn called "anchor".
    """
    if not turns or min(rounds, calls) < 1 or warmup < 0:
        raise LabError("nothing to clock", "give a model, and at least one round of one call")
    if ANCHOR in turns:
        raise LabError(f"what is clocked cannot be called {ANCHOR}", "choose another name")
    device = next(iter(turns.values())).device
    all_turns = dict(turns) | {ANCHOR: Turn(partial(make_anchor, device), device=device)}
    numbers = dict.fromkeys(turns, calls) | {ANCHOR: max(calls, ANCHOR_CALLS)}
    chance = random.Random(0)
    gaps: list[Tensor] = []  # kept to the end, so that no round gets the memory of another
    rows: list[tuple[str, int, int]] = []
    made: dict[str, Call] = {}
    with on_threads(torch.get_num_threads()), no_garbage_collection():
        for round_ in range(rounds):
            made.clear()  # first, or large networks would be in memory three times
            gc.collect()
            made |= _made_anew(all_turns, chance, gaps)
            for name in chance.sample(sorted(made), len(made)):
                times = _clocked(all_turns[name], made[name], numbers[name], warmup)
                rows += [(name, round_, ns) for ns in times]
    return Clocking(pd.DataFrame(rows, columns=["name", "round", "ns"]), dict(turns))


def inference(model: nn.Module, x: Tensor, *, threads: int = 1) -> Turn:
    """The inference of a model on the batch x as a turn: of a new copy each round.

    Raises LabError for a batch without images.
    """
    if not len(x):
        raise LabError("a batch without images", "give at least one")
    runtime = runtime_of(model)

    def make() -> Call:
        copied, images = runtime.replica(model, threads), x.clone()
        return lambda: run(copied, images)

    return Turn(make, len(x), threads, x.device, runtime)


def elapsed_ns(call: Call, device: torch.device) -> int:
    """Nanoseconds of one call, the accelerator's work included."""
    synchronize(device)
    start = time.perf_counter_ns()
    call()
    synchronize(device)
    return time.perf_counter_ns() - start


def _made_anew(
    turns: Mapping[str, Turn], chance: random.Random, gaps: list[Tensor]
) -> dict[str, Call]:
    """The calls of a round, made in an order and at places in memory that chance decides."""
    made = {}
    for name in chance.sample(sorted(turns), len(turns)):
        gaps.append(torch.ones(chance.randrange(64, LARGEST_GAP), dtype=torch.uint8))
        made[name] = turns[name].make()
    return made


def _clocked(turn: Turn, call: Call, calls: int, warmup: int) -> list[int]:
    """Nanoseconds of each clocked call of one turn."""
    turn.runtime.set_threads(turn.threads)
    for _ in range(warmup):
        call()
    return [elapsed_ns(call, turn.device) for _ in range(calls)]
