"""Ensembles: several networks that answer together, or the mean of their weights as one."""

from labsupport.methods.ensembles.averaging import average
from labsupport.methods.ensembles.diversity import disagreement, disagreements
from labsupport.methods.ensembles.network import (
    Ensemble,
    Mirrored,
    Moved,
    ensemble,
    mirrored,
    multicrop,
)

__all__ = [
    "Ensemble",
    "Mirrored",
    "Moved",
    "average",
    "disagreement",
    "disagreements",
    "ensemble",
    "mirrored",
    "multicrop",
]
