"""Training by recipe with selection on validation, evaluation, seeds, and a cache of networks."""

from labsupport.training.augmentation import Affine, Augmentation, Crop, Flip, Shift
from labsupport.training.cache import Derived, derive, fit_or_load, train_or_load
from labsupport.training.calibration import expected_calibration_error, reliability
from labsupport.training.evaluation import Evaluation, evaluate, predict
from labsupport.training.fast import FasterBiases, fast_recipe
from labsupport.training.jobs import Derivation, Job, fit_jobs
from labsupport.training.loop import Trained, fit, train_epoch
from labsupport.training.muon import Muon
from labsupport.training.objectives import (
    CrossEntropy,
    InBfloat16,
    Objective,
    SoftCrossEntropy,
    Step,
    in_faster_precision,
    multiplies_bfloat16,
)
from labsupport.training.optimizers import SGD, AdamW, no_bias_decay
from labsupport.training.recipe import Recipe
from labsupport.training.schedules import Constant, Cyclic, OneCycle, Triangular
from labsupport.training.seeds import fit_seeds, mean_and_spread, over_seeds
from labsupport.training.snapshots import Snapshots, snapshots
from labsupport.training.sparse_ofmaps import SparseOfmaps
from labsupport.training.step_groups import StepGroups

__all__ = [
    "SGD",
    "AdamW",
    "Affine",
    "Augmentation",
    "Constant",
    "Crop",
    "CrossEntropy",
    "Cyclic",
    "Derivation",
    "Derived",
    "Evaluation",
    "FasterBiases",
    "Flip",
    "InBfloat16",
    "Job",
    "Muon",
    "Objective",
    "OneCycle",
    "Recipe",
    "Shift",
    "Snapshots",
    "SoftCrossEntropy",
    "SparseOfmaps",
    "Step",
    "StepGroups",
    "Trained",
    "Triangular",
    "derive",
    "evaluate",
    "expected_calibration_error",
    "fast_recipe",
    "fit",
    "fit_jobs",
    "fit_or_load",
    "fit_seeds",
    "in_faster_precision",
    "mean_and_spread",
    "multiplies_bfloat16",
    "no_bias_decay",
    "over_seeds",
    "predict",
    "reliability",
    "snapshots",
    "train_epoch",
    "train_or_load",
]
