"""Pruning: filters and neurons that the network would miss least are removed for good."""

from labsupport.methods.pruning import criteria
from labsupport.methods.pruning.criteria import Criterion, Scores
from labsupport.methods.pruning.schedules import (
    Retrain,
    Widths,
    by_fraction,
    lowest,
    one_at_a_time,
    prune,
    prune_along,
    prune_by_scores,
)
from labsupport.methods.pruning.search import Found, Stage, search
from labsupport.methods.pruning.unstructured import (
    keep_largest,
    magnitude,
    sparse_bytes,
    sparsity,
    with_sparse_linears,
    without_masks,
)

__all__ = [
    "Criterion",
    "Found",
    "Retrain",
    "Scores",
    "Stage",
    "Widths",
    "by_fraction",
    "criteria",
    "keep_largest",
    "lowest",
    "magnitude",
    "one_at_a_time",
    "prune",
    "prune_along",
    "prune_by_scores",
    "search",
    "sparse_bytes",
    "sparsity",
    "with_sparse_linears",
    "without_masks",
]
