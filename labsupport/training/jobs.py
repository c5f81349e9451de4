"""Any trainings by name, here or by workers, to whom images and networks go in files."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from labsupport.core.tensors import read_tensors, write_tensors
from labsupport.data import Split, Splits
from labsupport.network.modes import on_threads
from labsupport.network.storage import load, save
from labsupport.training.cache import fit_or_load
from labsupport.training.loop import AfterStep, Score, Trained
from labsupport.training.objectives import Objective
from labsupport.training.optimizers import Grouping
from labsupport.training.recipe import Recipe
from labsupport.training.seeds import side_by_side

PARTS = ("train", "val", "test")
Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True)
class Job:
    """One training: which network on which data, by which recipe, from which seed, to what end.

    What follows the seed is as in `fit`.
    """

    network: nn.Module
    splits: Splits[Any]
    recipe: Recipe
    seed: int
    objective: Objective | None = None
    groups: Grouping | None = None
    after_step: AfterStep | None = None
    score: Score | None = None

    def run(self, folder: Path) -> Trained:
        """The trained network, read back from the folder if it is there."""
        given = self.network, self.splits, self.recipe, self.seed, folder
        how: dict[str, Any] = {"objective": self.objective, "groups": self.groups}
        return fit_or_load(*given, **how, after_step=self.after_step, score=self.score)


def fit_jobs(
    jobs: Mapping[Name, Job], folder: Path, *, executor: Executor | None = None, threads: int = 1
) -> dict[Name, Trained]:
    """Trainings by name, each on so many threads, at the same time where there is an executor.

    Small networks hardly gain by a second thread, but two of them train side by side. As with
    `fit_seeds` the networks come back as files of the cache in `folder`.
    """
    folder = Path(folder).resolve()
    if executor:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder) as place:
            side_by_side(_sent(jobs, Path(place)), folder, executor, threads)
    with on_threads(threads):
        return {name: job.run(folder) for name, job in jobs.items()}


@dataclass(frozen=True)
class _Sent:
    """A job on its way to a worker.

    Its network is in a file, as masked ones cannot be pickled, its images in another, for their
    size.
    """

    job: Job
    network: Path
    images: Path | None

    def __call__(self, folder: Path) -> Trained:
        network = load(self.network, self.job.splits.device)
        splits = _with_images(self.job.splits, self.images) if self.images else self.job.splits
        return replace(self.job, network=network, splits=splits).run(folder)


def _sent(jobs: Mapping[Name, Job], place: Path) -> list[_Sent]:
    """The jobs with their networks in files, and images that several share in one."""
    images: dict[int, tuple[Splits[Any], Path | None]] = {}
    sent = []
    for number, job in enumerate(jobs.values()):
        if id(job.splits) not in images:
            images[id(job.splits)] = _without_images(job.splits, place / f"images-{number}")
        splits, path = images[id(job.splits)]
        save(job.network, network := place / f"network-{number}")
        sent.append(_Sent(replace(job, network=nn.Identity(), splits=splits), network, path))
    return sent


def _without_images(splits: Splits[Any], path: Path) -> tuple[Splits[Any], Path | None]:
    """The splits with empty parts and the file that has their images; streamed ones stay whole."""
    parts = {name: getattr(splits, name) for name in PARTS}
    if not all(isinstance(part, Split) for part in parts.values()):
        return splits, None
    write_tensors(path, {f"{n} {key}": t for n in parts for key, t in _tensors(parts[n])}, {})
    none = torch.tensor([], dtype=torch.int64, device=splits.device)  # a view would be sent whole
    return _with_parts(splits, {name: part.select(none) for name, part in parts.items()}), path


def _with_images(splits: Splits[Split], path: Path) -> Splits[Split]:
    """The splits with the images of a file in their empty parts."""
    tensors, _ = read_tensors(path, splits.device)
    parts = {}
    for name in PARTS:
        extras = {key: tensors[f"{name} extra {key}"] for key in getattr(splits, name).extras}
        parts[name] = Split(tensors[f"{name} x"], tensors[f"{name} y"], extras)
    return _with_parts(splits, parts)


def _with_parts(splits: Splits[Any], parts: Mapping[str, Split]) -> Splits[Split]:
    return replace(splits, train=parts["train"], val=parts["val"], test=parts["test"])


def _tensors(part: Split) -> list[tuple[str, Tensor]]:
    extras = [(f"extra {key}", tensor) for key, tensor in part.extras.items()]
    return [("x", part.x), ("y", part.y), *extras]
