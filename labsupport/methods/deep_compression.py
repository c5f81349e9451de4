"""Deep Compression: prune, share the weights that are left, and write them as one small file.

Han, Mao and Dally 2016, "Deep compression", figure 1. The file is `sharing.compress`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import nn

from labsupport.core.errors import LabError
from labsupport.data import Splits
from labsupport.methods.pruning import keep_largest, without_masks
from labsupport.methods.sharing import share
from labsupport.training import Recipe, fit

Shares = float | Mapping[str, float]  # of the weights of all layers, or by name of some


def deep_compression(
    network: nn.Module,
    splits: Splits[Any],
    retraining: Recipe,
    tuning: Recipe,
    *,
    keep: Shares,
    bits: int | Mapping[str, int],
    rounds: int = 4,
    seed: int = 0,
) -> nn.Module:
    """A copy, pruned and of few weights for each layer, ready for `sharing.compress`.

    `prune_in_rounds`, with `retraining` after each; then 2^bits centroids for a layer, retrained
    by `tuning` (a rate about a tenth of the other: a step of a centroid moves all its weights).
    Each training keeps its best epoch on validation images. Raises LabError as `prune_in_rounds`
    and `sharing.share` do.
    """
    share(keep_largest(network, keep), bits)  # whatever is wrong is said before any training
    pruned = prune_in_rounds(network, splits, retraining, keep=keep, rounds=rounds, seed=seed)
    return fit(share(pruned, bits), splits, tuning, seed).model


def prune_in_rounds(
    network: nn.Module,
    splits: Splits[Any],
    recipe: Recipe,
    *,
    keep: Shares,
    rounds: int = 4,
    seed: int = 0,
) -> nn.Module:
    """A copy with the shares `keep` of its layers' weights, for all or by name for some, retrained.

    Each round takes the same share of the weights that are left, the smallest ones, and masks hold
    the zeros in the training that follows (Han et al. 2015, "Learning both weights and
    connections", section 3). Raises LabError for less than one round, and as `keep_largest` does.
    """
    if type(rounds) is not int or rounds < 1:
        raise LabError(f"pruning in {rounds} rounds", "give a whole number, at least one")
    keep_largest(network, keep)  # whatever is wrong is said before any training
    pruned = network
    for done in range(1, rounds + 1):
        so_far = _to_the_power(keep, done / rounds)
        pruned = fit(keep_largest(without_masks(pruned), so_far), splits, recipe, seed).model
    return pruned


def _to_the_power(keep: Shares, part: float) -> Shares:
    """The shares that are left when a part of the rounds, above 0 to 1, is done."""
    if isinstance(keep, Mapping):
        return {name: share**part for name, share in keep.items()}
    return math.pow(keep, part)
