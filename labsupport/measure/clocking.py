"""The one clock: calls in turn, in shuffled rounds, each with its own A/A noise floor."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from scipy.stats import bootstrap

from labsupport.core.errors import LabError
from labsupport.network.calls import synchronize
from labsupport.network.modes import no_garbage_collection, on_threads, set_threads

RESAMPLES = 2000
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Turn:
    """What is clocked in turn with others: a call, how many images it handles, its threads."""

    call: Callable[[], object]
    batch: int = 1
    threads: int = 1
    device: torch.device = CPU


@dataclass(frozen=True)
class Ratio:
    """A ratio of times with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Clocking:
    """Times of interleaved calls.

    `samples` has a row per clocked call (name, round, ns). `turns` are what was clocked, by name.
    """

    samples: pd.DataFrame
    turns: Mapping[str, Turn]

    @property
    def table(self) -> pd.DataFrame:
        """A row per name: median and spread of a call, time per image, and its noise floor."""
        return pd.DataFrame([self._row(name, turn) for name, turn in self.turns.items()])

    @property
    def noise_pct(self) -> float:
        """The A/A difference of the first name, in percent of its median."""
        first = next(iter(self.turns))
        return 100 * self.noise_ms(first) / self.median_ms(first)

    def noise_ms(self, name: str) -> float:
        """The A/A difference: the median of the even rounds against that of the odd ones.

        Both halves clocked the same thing, taking turns, so whatever differs is noise. NaN for a
        single round.
        """
        times = self._ms(name)
        halves = times.groupby(self.samples.loc[times.index, "round"] % 2).median()
        return abs(halves.iloc[0] - halves.iloc[1]) if len(halves) == 2 else float("nan")

    def median_ms(self, name: str) -> float:
        """Median time of a call. Raises LabError for a name that was not clocked."""
        return float(self._ms(name).median())

    def ratio(self, slower: str, faster: str) -> Ratio:
        """How many times longer `slower` takes than `faster`.

        Each round gives the ratio of its two medians, taken within moments of each other; the
        value is the median over rounds, the interval its bootstrap.
        """
        rounds = self._round_medians(slower) / self._round_medians(faster)
        value = float(np.median(rounds))
        if len(rounds) == 1:  # nothing to draw from
            return Ratio(value, value, value)
        drawn = bootstrap(
            (rounds,), np.median, n_resamples=RESAMPLES, method="percentile", rng=0
        ).confidence_interval
        return Ratio(value, float(drawn.low), float(drawn.high))

    def _ms(self, name: str) -> pd.Series[float]:
        times = self.samples.loc[self.samples["name"] == name, "ns"] / 1e6
        if times.empty:
            raise LabError(f"{name!r} was not clocked", f"choose from {', '.join(self.turns)}")
        return times

    def _round_medians(self, name: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        times = self._ms(name)
        return times.groupby(self.samples.loc[times.index, "round"]).median().to_numpy()

    def _row(self, name: str, turn: Turn) -> dict[str, object]:
        times = self._ms(name)
        p05, p25, median, p75, p95 = times.quantile([0.05, 0.25, 0.5, 0.75, 0.95])
        return {
            "name": name,
            "batch": turn.batch,
            "threads": turn.threads,
            "calls": len(times),
            "median_ms": median,
            "iqr_ms": p75 - p25,
            "p05_ms": p05,
            "p95_ms": p95,
            "image_ms": median / turn.batch,
            "images_fps": 1000 * turn.batch / median,
            "noise_ms": self.noise_ms(name),
            "noise_pct_clocked": 100 * self.noise_ms(name) / median,
        }


def clock_turns(
    turns: Mapping[str, Turn], *, rounds: int = 20, calls: int = 10, warmup: int = 5
) -> Clocking:
    """Clock turns against each other: the one clock all others are built on.

    Every round gives each turn `calls` clocked calls, in an order shuffled anew, so that no turn
    profits from a quiet machine or always follows the same neighbor.
    """
    if not turns or min(rounds, calls) < 1 or warmup < 0:
        raise LabError("nothing to clock", "give a model, and at least one round of one call")
    order = random.Random(0)
    rows: list[tuple[str, int, int]] = []
    with on_threads(torch.get_num_threads()), no_garbage_collection():
        for turn in turns.values():
            warm(turn, warmup)
        for round_ in range(rounds):
            for name in order.sample(sorted(turns), len(turns)):
                rows += [(name, round_, ns) for ns in _clocked(turns[name], calls)]
    return Clocking(pd.DataFrame(rows, columns=["name", "round", "ns"]), dict(turns))


def warm(turn: Turn, calls: int) -> None:
    """Call a turn off the clock, on its threads."""
    set_threads(turn.threads)
    for _ in range(calls):
        turn.call()


def _clocked(turn: Turn, calls: int) -> list[int]:
    """Nanoseconds of each call of one turn."""
    # One call off the clock: it brings back into the caches what the turn before pushed out.
    warm(turn, 1)
    return [elapsed_ns(turn) for _ in range(calls)]


def elapsed_ns(turn: Turn) -> int:
    """Nanoseconds of one call, the accelerator's work included."""
    synchronize(turn.device)
    start = time.perf_counter_ns()
    turn.call()
    synchronize(turn.device)
    return time.perf_counter_ns() - start
