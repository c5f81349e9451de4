"""Pruning: filters and neurons that the network would miss least are removed for good."""

from labsupport.methods.pruning import criteria
from labsupport.methods.pruning.criteria import Criterion, Scores
from labsupport.methods.pruning.schedules import (
    Retrain,
    Widths,
    along,
    by_fraction,
    least,
    one_at_a_time,
    prune,
)

__all__ = [
    "Criterion",
    "Retrain",
    "Scores",
    "Widths",
    "along",
    "by_fraction",
    "criteria",
    "least",
    "one_at_a_time",
    "prune",
]
