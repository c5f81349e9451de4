"""Decomposition: layers as several with fewer MACs, by low ranks of their weights."""

from labsupport.methods.decomposition.candidate_table import candidates, in_shares, options
from labsupport.methods.decomposition.choice import choose, choose_timed, remaining, taken
from labsupport.methods.decomposition.cp import CP
from labsupport.methods.decomposition.network import decompose, decompose_along
from labsupport.methods.decomposition.pieces import Decomposition
from labsupport.methods.decomposition.rank_one import (
    Terms,
    alternating,
    descended,
    stable,
    stable_then_descended,
)
from labsupport.methods.decomposition.svd import SVD
from labsupport.methods.decomposition.tensor_train import TensorTrain, ordered
from labsupport.methods.decomposition.tucker import Tucker, tucker_by_vbmf
from labsupport.methods.decomposition.vbmf import Factorized, vbmf

__all__ = [
    "CP",
    "SVD",
    "Decomposition",
    "Factorized",
    "TensorTrain",
    "Terms",
    "Tucker",
    "alternating",
    "candidates",
    "choose",
    "choose_timed",
    "decompose",
    "decompose_along",
    "descended",
    "in_shares",
    "options",
    "ordered",
    "remaining",
    "stable",
    "stable_then_descended",
    "taken",
    "tucker_by_vbmf",
    "vbmf",
]
