"""Training with selection on validation, evaluation, seeds, and a cache of trained networks."""

from labsupport.training.cache import Derived, derive, fit_or_load, fit_seeds, train_or_load
from labsupport.training.loop import (
    Evaluation,
    Objective,
    Recipe,
    Step,
    Trained,
    evaluate,
    fit,
    predict,
    smoothed,
    train_epoch,
)
from labsupport.training.seeds import mean_and_spread, over_seeds

__all__ = [
    "Derived",
    "Evaluation",
    "Objective",
    "Recipe",
    "Step",
    "Trained",
    "derive",
    "evaluate",
    "fit",
    "fit_or_load",
    "fit_seeds",
    "mean_and_spread",
    "over_seeds",
    "predict",
    "smoothed",
    "train_epoch",
    "train_or_load",
]
