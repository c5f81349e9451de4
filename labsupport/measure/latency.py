"""Latency of models and of any calls, by themselves or against each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from labsupport.core.errors import LabError
from labsupport.measure.clocking import (
    CPU,
    Call,
    Clocking,
    Turn,
    clock_turns,
    elapsed_ns,
    inference,
)
from labsupport.network.calls import run
from labsupport.network.modes import evaluating, no_garbage_collection, on_threads
from labsupport.runtimes.runtime import runtime_of


def clock(
    models: Mapping[str, nn.Module],
    x: Tensor | Mapping[str, Tensor],
    *,
    rounds: int = 20,
    calls: int = 10,
    warmup: int = 2,
    threads: int = 1,
) -> Clocking:
    """Clock the inference of models on the batch x (or on a batch of their own each, by name).

    Raises LabError when there is nothing to clock or an input does not fit.
    """
    inputs = x if isinstance(x, Mapping) else dict.fromkeys(models, x)
    if absent := [name for name in models if name not in inputs]:
        raise LabError(f"no input for {', '.join(absent)}", "give each model a batch by its name")
    turns = {
        name: inference(model, inputs[name], threads=threads) for name, model in models.items()
    }
    with evaluating(*models.values()), torch.inference_mode():
        return clock_turns(turns, rounds=rounds, calls=calls, warmup=warmup)


def clock_calls(
    calls: Mapping[str, Call],
    *,
    batch: int = 1,
    rounds: int = 20,
    repeats: int = 10,
    warmup: int = 2,
    threads: int = 1,
    device: torch.device = CPU,
) -> Clocking:
    """Clock any functions against each other, for instance training steps on `batch` images.

    They are called as they are: unlike a network's, their memory stays where it lies.
    """
    turns = {
        name: Turn(partial(_itself, call), batch, threads, device) for name, call in calls.items()
    }
    return clock_turns(turns, rounds=rounds, calls=repeats, warmup=warmup)


def clock_stream(
    models: Mapping[str, nn.Module],
    x: Tensor,
    *,
    rounds: int = 7,
    calls: int = 1,
    threads: int = 1,
) -> Clocking:
    """Clock models that take longer for some images than for others, such as early exits.

    A clocked call runs all images of x through a model one by one, so that `image_ms` is the mean
    time of one image at batch 1. Raises LabError when there is nothing to clock, or an image does
    not fit.
    """
    if not len(x):
        raise LabError("a stream without images", "give at least one")
    turns = {name: _stream(model, x, threads) for name, model in models.items()}
    with evaluating(*models.values()), torch.inference_mode():
        return clock_turns(turns, rounds=rounds, calls=calls, warmup=1)


def thread_sweep(
    model: nn.Module, x: Tensor, threads: Sequence[int], *, rounds: int = 20, calls: int = 10
) -> Clocking:
    """Clock one model on x with several thread counts, interleaved."""
    turns = {f"threads {count}": inference(model, x, threads=count) for count in threads}
    with evaluating(model), torch.inference_mode():
        return clock_turns(turns, rounds=rounds, calls=calls)


def batch_sweep(
    model: nn.Module,
    x: Tensor,
    batches: Sequence[int],
    *,
    threads: int = 1,
    rounds: int = 20,
    calls: int = 10,
) -> Clocking:
    """Clock one model on the first images of x in batches of several sizes, interleaved.

    Raises LabError for no batches, one without images, and when x holds fewer images than a batch.
    """
    if max(batches, default=0) > len(x):
        raise LabError(f"a batch of {max(batches)} of {len(x)} images", "give more images")
    turns = {f"batch {size}": inference(model, x[:size], threads=threads) for size in batches}
    with evaluating(model), torch.inference_mode():
        return clock_turns(turns, rounds=rounds, calls=calls)


def _itself(call: Call) -> Call:
    return call


def _stream(model: nn.Module, x: Tensor, threads: int) -> Turn:
    """The inference of a model on all images of x, one by one: of a new copy each round."""
    runtime = runtime_of(model)

    def make() -> Call:
        return partial(_one_by_one, runtime.replica(model, threads), torch.split(x.clone(), 1))

    return Turn(make, len(x), threads, x.device, runtime)


def _one_by_one(model: nn.Module, images: Sequence[Tensor]) -> None:
    for image in images:
        run(model, image)


def time_each_image(
    model: nn.Module, x: Tensor, *, warmup: int = 10, threads: int = 1
) -> pd.DataFrame:
    """Latency of every image of x by itself, in order: columns sample, latency_ms.

    With `warmup=0` the first calls show what a warm-up hides. Raises LabError for no images.
    """
    if not len(x):
        raise LabError("there is no image to time", "give at least one")
    samples = [x[i : i + 1] for i in range(len(x))]
    model = runtime_of(model).replica(model, threads)
    with evaluating(model), torch.inference_mode(), on_threads(threads), no_garbage_collection():
        for _ in range(warmup):
            run(model, samples[0])
        times = [elapsed_ns(partial(run, model, sample), x.device) for sample in samples]
    return pd.DataFrame({"sample": range(len(times)), "latency_ms": np.array(times) / 1e6})


def moving(trace: pd.DataFrame, window: int = 100) -> pd.DataFrame:
    """A trace with the mean and standard deviation of the last `window` samples beside it.

    Adds the columns mean_ms and std_ms, empty until the window is full. Raises LabError for a
    window longer than the trace.
    """
    if not 2 <= window <= len(trace):
        raise LabError(
            f"a window of {window} on {len(trace)} samples", "take a window from 2 to that number"
        )
    rolling = trace["latency_ms"].rolling(window)
    return trace.assign(mean_ms=rolling.mean(), std_ms=rolling.std())
