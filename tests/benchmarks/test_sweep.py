"""What a long record costs: opening, resuming and plotting a sweep of thousands of trials."""

from __future__ import annotations

import json
import time
from io import BytesIO
from statistics import median

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from labsupport.plots import tradeoffs
from labsupport.sweep import Sweep, finished

pytestmark = pytest.mark.benchmark
FEW, MANY, SEEDS = 10, 10_000, 2
ROUNDS = 5
LIMIT_SECONDS = 2.0
PUBLISHED = pd.DataFrame({"macs": [5e4], "accuracy": [0.9], "latency_b1_ms": [0.3]})


def trials(count):
    return [{"width": 1 + number // SEEDS, "seed": number % SEEDS} for number in range(count)]


def figures(width, seed):
    return {
        **{"val_accuracy": 0.9 + width % 91 / 1000, "accuracy": 0.9 + (width + seed) % 97 / 1000},
        **{"parameters": 795 * width, "macs": 794 * width, "disk_bytes": 3180 * width},
        **{"latency_b1_ms": 0.01 * width, "latency_b1_iqr_ms": 0.001 * width},
    }


def never(width, seed):
    raise AssertionError("nothing is left to do")


@pytest.fixture(scope="module")
def sweeps(tmp_path_factory):
    """Records with few and with many trials, written as a sweep does, but for the disk's wait."""
    folder = tmp_path_factory.mktemp("sweeps")
    return {count: written(folder / f"{count}.jsonl", count) for count in (FEW, MANY)}


def written(path, count):
    lines = (
        {"trial": trial, "code": "", "figures": figures(**trial), "error": "", "seconds": 1.5}
        for trial in trials(count)
    )
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return Sweep(path)


def seconds_of(sweep, count):
    """Seconds by step: opened, resumed with nothing left to do, plotted and drawn."""
    times = [time.perf_counter()]
    assert len(sweep.table()) == count
    times.append(time.perf_counter())
    table = finished(sweep.run(never, trials(count)))
    times.append(time.perf_counter())
    table = table.assign(variant=table["width"].astype(str), size="28")
    figure = tradeoffs(table, PUBLISHED, group="size")
    figure.savefig(BytesIO())
    times.append(time.perf_counter())
    plt.close(figure)
    steps = zip(("open", "resume", "plot"), times[:-1], times[1:], strict=True)
    return {step: end - start for step, start, end in steps} | {"all": times[-1] - times[0]}


def test_many_finished_trials_take_little_longer_than_few(sweeps):
    seconds_of(sweeps[FEW], FEW)  # first figures and imports are not the record's
    rounds = [{n: seconds_of(sweep, n) for n, sweep in sweeps.items()} for _ in range(ROUNDS)]
    medians = pd.DataFrame(
        {f"{n} trials": pd.DataFrame([times[n] for times in rounds]).median() for n in sweeps}
    )
    longer = median(times[MANY]["all"] - times[FEW]["all"] for times in rounds)
    print(f"\nseconds, median of {ROUNDS} rounds\n{medians.round(3).to_string()}")
    print(f"{MANY:,} trials take {longer:.2f} s longer than {FEW}")
    assert longer <= LIMIT_SECONDS
