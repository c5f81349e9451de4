"""Several trainings at a time, here or by workers: one network from several seeds, or any jobs."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any, Protocol, TypeVar

import pandas as pd
import torch
from torch import nn

from labsupport.data import Splits
from labsupport.models import ModelSpec
from labsupport.network.modes import on_threads
from labsupport.training.cache import Derived, derive, fit_or_load, train_or_load
from labsupport.training.evaluation import evaluate
from labsupport.training.loop import Trained
from labsupport.training.objectives import Objective
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
        _side_by_side(trainings, folder, executor, torch.get_num_threads())
    return [train(folder, progress) for train in trainings]


@dataclass(frozen=True)
class Job:
    """One training: which network on which data, by which recipe, from which seed, to what end."""

    network: nn.Module
    splits: Splits[Any]
    recipe: Recipe
    seed: int
    objective: Objective | None = None

    def run(self, folder: Path) -> Trained:
        """The trained network, read back from the folder if it is there."""
        return fit_or_load(
            self.network, self.splits, self.recipe, self.seed, folder, objective=self.objective
        )


@dataclass(frozen=True)
class Making:
    """A network derived from others, as `derive` takes it: snapshots, a student that had a hint."""

    make: Callable[..., nn.Module]
    parents: tuple[nn.Module, ...]
    arguments: Mapping[str, object]

    def run(self, folder: Path) -> Derived[nn.Module]:
        """The derived network, read back from the folder if it is there."""
        return derive(folder, self.make, *self.parents, **self.arguments)


Name = TypeVar("Name", bound=Hashable)
Result = TypeVar("Result")
Result_co = TypeVar("Result_co", covariant=True)


class Runnable(Protocol[Result_co]):
    """A Job, a Making, or whatever else leaves its result in the cache in a folder."""

    def run(self, folder: Path) -> Result_co:
        """The result, read back if it is there."""


def fit_jobs(
    jobs: Mapping[Name, Runnable[Result]],
    folder: Path,
    *,
    executor: Executor | None = None,
    threads: int = 1,
) -> dict[Name, Result]:
    """Trainings by name, each on so many threads, at the same time where there is an executor.

    Small networks hardly gain by a second thread, but two of them train side by side. As with
    `fit_seeds` the networks come back as files of the cache in `folder`.
    """
    folder = Path(folder).resolve()
    if executor:
        _side_by_side([job.run for job in jobs.values()], folder, executor, threads)
    with on_threads(threads):
        return {name: job.run(folder) for name, job in jobs.items()}


def over_seeds(fits: Iterable[Trained], splits: Splits[Any]) -> pd.DataFrame:
    """A row per seed: best epoch, accuracy on train, validation and (used here only) test."""
    return pd.DataFrame([_row(result, splits) for result in fits])


def mean_and_spread(values: Sequence[float] | pd.Series) -> tuple[float, float]:
    """Mean and sample standard deviation; the deviation of a single value is NaN."""
    series = pd.Series(values, dtype=float)
    return float(series.mean()), float(series.std(ddof=1))


Training = Callable[[Path], object]  # into the cache in a folder


def _side_by_side(
    trainings: Sequence[Training], folder: Path, executor: Executor, threads: int
) -> None:
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
