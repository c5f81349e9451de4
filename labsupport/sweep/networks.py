"""Trained networks as the trials of a sweep: what each one costs and gives."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import pandas as pd
import torch

from labsupport.core.description import describe, references
from labsupport.data import Splits, load
from labsupport.data.sources import absolute_name, data_folder
from labsupport.measure.cards import Figures, clocked_columns, counted_columns
from labsupport.measure.latency import clock
from labsupport.models import ModelSpec
from labsupport.models.registry import Knob
from labsupport.network.cost import cost
from labsupport.network.modes import on_threads
from labsupport.sweep.record import Trial
from labsupport.training import Recipe, Trained, evaluate, train_or_load
from labsupport.training.sources import code_fingerprint

KEPT = 4  # sizes of images that a worker holds at once


@dataclass(frozen=True)
class Setup:
    """What the networks of a sweep have in common: data, recipe, and the folder of their cache.

    Workers may run elsewhere, so folders and the path in `csv:PATH` and `folder:PATH` become
    absolute; on a cluster they must be on a shared file system. Each network is trained on
    `threads` threads, wherever that is: the last digits depend on their number.
    """

    data: str
    recipe: Recipe
    cache: Path
    split_seed: int = 0
    max_train: int | None = None
    device: str = "cpu"
    threads: int = 1
    data_dir: Path = field(default_factory=data_folder)

    def __post_init__(self) -> None:
        folder = Path(self.data_dir).resolve()
        for name, value in (
            ("cache", Path(self.cache).resolve()),
            ("data_dir", folder),
            ("data", absolute_name(self.data, folder)),
        ):
            object.__setattr__(self, name, value)

    @property
    def fingerprint(self) -> str:
        """Eight hexadecimal digits that change with anything but a trial's own arguments.

        The code is that of this module and of the recipe's parts, with all that they import. That
        of a model `package.module:function` belongs to its trials: see `Sweep`.
        """
        recipe = describe(self.recipe)
        modules = {name.partition(":")[0] for name in references(recipe)}
        determines = {
            "data": self.splits().fingerprint,
            "recipe": recipe,
            "device": self.device,
            "threads": self.threads,
            "code": code_fingerprint({__name__, *modules}),
            "torch": torch.__version__,
        }
        return hashlib.sha256(json.dumps(determines, sort_keys=True).encode()).hexdigest()[:8]

    def splits(self, size: int = 0, crop: int = 0) -> Splits:
        """The data with images of `size`, then cropped to `crop` pixels; 0 leaves them alone."""
        return _load(self, size, crop)

    def fit(
        self, *, seed: int, model: str = "mlp", size: int = 0, crop: int = 0, **knobs: Knob
    ) -> Trained:
        """The trained network of a trial: from the cache, else trained."""
        splits = self.splits(size, crop)
        spec = ModelSpec(model, splits.input_shape, len(splits.classes), knobs)
        with on_threads(self.threads):
            return train_or_load(spec, splits, self.recipe, seed, self.cache)

    def trial(
        self, *, seed: int, model: str = "mlp", size: int = 0, crop: int = 0, **knobs: Knob
    ) -> Figures:
        """Train a network and give its figures, those of a scorecard that are not clocked.

        `val_accuracy` is there to choose by, `accuracy` is that on the test part.
        """
        fit = self.fit(seed=seed, model=model, size=size, crop=crop, **knobs)
        splits = self.splits(size, crop)
        with on_threads(self.threads):
            accuracy = evaluate(fit.model, splits.test).accuracy
        return {
            "accuracy": accuracy,
            "val_accuracy": fit.val_accuracy,
            "train_loss": float(fit.history["train_loss"].iloc[-1]),
            "network": model,
            **counted_columns(fit.model, cost(fit.model, splits.input_shape)),
        }


def clock_trials(
    setup: Setup, trials: Mapping[str, Trial], *, rounds: int = 20, calls: int = 10
) -> pd.DataFrame:
    """Latency at batch 1 of the networks of trials: clocked afterwards, here, against each other.

    `trials` are by variant, the first one is the base. Columns: variant, base, threads and the
    clocked ones of a scorecard. Networks come from the cache; one that is not there is trained
    first.
    """
    models = {name: setup.fit(**trial).model for name, trial in trials.items()}
    images = {
        name: setup.splits(trial.get("size", 0), trial.get("crop", 0)).test.x[:1]
        for name, trial in trials.items()
    }
    clocking = clock(models, images, rounds=rounds, calls=calls)
    about = {"base": clocking.base, "threads": 1}
    rows = [{"variant": name} | about | clocked_columns(clocking, name, "b1") for name in models]
    return pd.DataFrame(rows)


@lru_cache(maxsize=KEPT)
def _load(setup: Setup, size: int, crop: int) -> Splits:
    return load(
        setup.data,
        data_dir=setup.data_dir,
        seed=setup.split_seed,
        size=size or None,
        crop=crop or None,
        device=setup.device,
        max_train=setup.max_train,
    )
