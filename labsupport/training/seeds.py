"""One network, several seeds: a table of accuracies, mean and spread."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from labsupport.data import Splits
from labsupport.training.loop import Trained, evaluate


def over_seeds(fits: Iterable[Trained], splits: Splits[Any]) -> pd.DataFrame:
    """A row per seed: best epoch, accuracy on train, validation and (used here only) test."""
    return pd.DataFrame([_row(result, splits) for result in fits])


def mean_and_spread(values: Sequence[float] | pd.Series) -> tuple[float, float]:
    """Mean and sample standard deviation; the deviation of a single value is NaN."""
    series = pd.Series(values, dtype=float)
    return float(series.mean()), float(series.std(ddof=1))


def _row(result: Trained, splits: Splits[Any]) -> dict[str, float]:
    return {
        "seed": result.seed,
        "best_epoch": result.best_epoch,
        "train_accuracy": evaluate(result.model, splits.train).accuracy,
        "val_accuracy": result.val_accuracy,
        "test_accuracy": evaluate(result.model, splits.test).accuracy,
        "train_seconds": result.seconds,
    }
