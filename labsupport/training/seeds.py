"""One network trained from several seeds, here or by workers at the same time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

import pandas as pd
import torch

from labsupport.data import Splits
from labsupport.models import ModelSpec
from labsupport.network.modes import on_threads
from labsupport.training.cache import train_or_load
from labsupport.training.evaluation import evaluate
from labsupport.training.loop import Trained
from labsupport.training.recipe import Recipe

RANDOM_STATE_LOCK = Lock()  # all threads of a process share it, so they train in turn


def fit_seeds(
    spec: ModelSpec,
    splits: Splits[Any],
    recipe: Recipe,
    seeds: Iterable[int],
    folder: Path,
    progress: bool = False,
    *,
    executor: Executor | None = None,
) -> list[Trained]:
    """The same network trained from each of `seeds`; the data split stays the same.

    With an executor (processes, a sweep's workers) the seeds train at the same time, each on as
    many threads as torch has here. The networks come back as files of the cache, so workers must
    see the same `folder`; data and recipe are sent to them.
    """
    seeds, folder = list(seeds), Path(folder).resolve()
    trainings = [partial(train_or_load, spec, splits, recipe, seed) for seed in seeds]
    if executor:
        side_by_side(trainings, folder, executor, torch.get_num_threads())
    return [train(folder, progress) for train in trainings]


def over_seeds(fits: Iterable[Trained], splits: Splits[Any]) -> pd.DataFrame:
    """A row per seed: best epoch, accuracy on train, validation and (used here only) test."""
    return pd.DataFrame([_row(result, splits) for result in fits])


def mean_and_spread(values: Sequence[float] | pd.Series) -> tuple[float, float]:
    """Mean and sample standard deviation; the deviation of a single value is NaN."""
    series = pd.Series(values, dtype=float)
    return float(series.mean()), float(series.std(ddof=1))


Training = Callable[[Path], object]  # into the cache in a folder


def side_by_side(
    trainings: Sequence[Training], folder: Path, executor: Executor, threads: int
) -> None:
    """Run trainings by an executor, each on so many threads, and raise what one of them raised."""
    futures = [executor.submit(_in_turn, train, folder, threads) for train in trainings]
    for future in futures:
        future.result()


def _in_turn(train: Training, folder: Path, threads: int) -> None:
    """Train into the cache, and give nothing back: a network would have to be pickled."""
    with RANDOM_STATE_LOCK, on_threads(threads):
        train(folder)


def _row(result: Trained, splits: Splits[Any]) -> dict[str, float]:
    return {
        "seed": result.seed,
        "best_epoch": result.best_epoch,
        "train_accuracy": evaluate(result.model, splits.train).accuracy,
        "val_accuracy": result.val_accuracy,
        "test_accuracy": evaluate(result.model, splits.test).accuracy,
        "train_seconds": result.seconds,
    }
