"""Pruning: filters and neurons that the network would miss least are removed for good."""

from labsupport.methods.pruning import criteria
from labsupport.methods.pruning.criteria import Criterion, Scores
from labsupport.methods.pruning.schedules import (
    Retrain,
    Widths,
    along,
    by_fraction,
    cut,
    least,
    one_at_a_time,
    prune,
)
from labsupport.methods.pruning.search import Found, Stage, search
from labsupport.methods.pruning.unstructured import (
    magnitude,
    settled,
    sparse_bytes,
    sparsity,
    with_sparse_linears,
)

__all__ = [
    "Criterion",
    "Found",
    "Retrain",
    "Scores",
    "Stage",
    "Widths",
    "along",
    "by_fraction",
    "criteria",
    "cut",
    "least",
    "magnitude",
    "one_at_a_time",
    "prune",
    "search",
    "settled",
    "sparse_bytes",
    "sparsity",
    "with_sparse_linears",
]
