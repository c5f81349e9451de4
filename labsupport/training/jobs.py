"""Any trainings by name, here or by workers."""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from torch import nn

from labsupport.core.errors import LabError
from labsupport.data import Splits
from labsupport.network.modes import on_threads
from labsupport.training.cache import Derived, derive, fit_or_load
from labsupport.training.loop import AfterStep, Score, Trained
from labsupport.training.objectives import Objective
from labsupport.training.optimizers import Grouping
from labsupport.training.recipe import Recipe
from labsupport.training.seeds import side_by_side
from labsupport.training.sent_work import Work, sent

Name = TypeVar("Name", bound=Hashable)
Result = TypeVar("Result")

OWN = frozenset({"folder", "make", "splits"})  # what `derive` is given besides the arguments


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

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """The network to train, alone."""
        return (self.network,)

    def using(self, networks: tuple[nn.Module, ...], splits: Splits[Any]) -> Job:
        """The same training of another network on other images."""
        return replace(self, network=networks[0], splits=splits)

    def run(self, folder: Path) -> Trained:
        """The trained network, read back from the folder if it is there."""
        given = self.network, self.splits, self.recipe, self.seed, folder
        how: dict[str, Any] = {"objective": self.objective, "groups": self.groups}
        return fit_or_load(*given, **how, after_step=self.after_step, score=self.score)


@dataclass(frozen=True)
class Derivation:
    """A network made from others and from images, such as snapshots, or a student with a hint.

    `make(*networks, splits=splits, **arguments)` is a function of a module, as in `derive`. It gets
    copies of the networks on the device of the images, where the result lies, too. Raises LabError
    for no tuple of networks, and for arguments named as what `derive` is given besides.
    """

    make: Callable[..., nn.Module]
    networks: tuple[nn.Module, ...]
    splits: Splits[Any]
    arguments: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_networks(self.networks)
        if taken := sorted(OWN & set(self.arguments)):
            problem = f"a derivation has {' and '.join(taken)} of its own"
            raise LabError(problem, "leave that out of its arguments")

    def using(self, networks: tuple[nn.Module, ...], splits: Splits[Any]) -> Derivation:
        """The same made from other networks and images."""
        return replace(self, networks=networks, splits=splits)

    def run(self, folder: Path) -> Derived[nn.Module]:
        """The derived network, read back from the folder if it is there."""
        # Copied together, as they may share weights.
        networks = [network.to(self.splits.device) for network in copy.deepcopy(self.networks)]
        return derive(folder, self.make, *networks, splits=self.splits, **self.arguments)


def fit_jobs(
    jobs: Mapping[Name, Work[Result]],
    folder: Path,
    *,
    executor: Executor | None = None,
    threads: int = 1,
) -> dict[Name, Result]:
    """Results of jobs by name, each on so many threads, side by side where there is an executor.

    Small networks hardly gain by a second thread, but two of them train side by side. As with
    `fit_seeds` the networks come back as files of the cache in `folder`. Raises LabError for jobs
    that cannot be sent to a worker, such as with masks in the teacher of an objective.
    """
    folder = Path(folder).resolve()
    if executor:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder) as place:
            side_by_side(sent([*jobs.values()], Path(place)), folder, executor, threads)
    with on_threads(threads):
        return {name: job.run(folder) for name, job in jobs.items()}


def _check_networks(networks: object) -> None:
    if not isinstance(networks, tuple) or not networks:
        problem = f"a derivation from a {type(networks).__name__} in place of networks"
        raise LabError(problem, "give a tuple of at least one: (network,)")
