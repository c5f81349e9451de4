"""Ensembles: several networks that answer together, or the mean of their weights as one."""

from labsupport.methods.ensembles.averaging import average
from labsupport.methods.ensembles.diversity import disagreement, disagreements
from labsupport.methods.ensembles.network import Ensemble, Mirrored, ensemble, mirrored

__all__ = [
    "Ensemble",
    "Mirrored",
    "average",
    "disagreement",
    "disagreements",
    "ensemble",
    "mirrored",
]
