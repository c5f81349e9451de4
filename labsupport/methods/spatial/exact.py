"""The exact solution of a tiny search for masks, to check others by: all masks are tried."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice, product

import torch

from labsupport.core.errors import LabError
from labsupport.data import Batched
from labsupport.methods.spatial.layer import SpatialLayer
from labsupport.methods.spatial.masks import Granularity, Mask
from labsupport.methods.spatial.network import SpatialNetwork
from labsupport.methods.spatial.patterns import everything, patterns
from labsupport.methods.spatial.trials import Found, Trials, or_none

MOST_PASSES = 10_000


def exact_search(
    network: SpatialNetwork,
    split: Batched,
    eps: float,
    granularity: Granularity,
    *,
    p: int = 2,
    ones: tuple[int, int] | None = None,
    batch_size: int = 250,
) -> Found:
    """The masks that save most and lose at most `eps`, by a pass with each that there can be.

    Every patch may be computed as a whole, too. Raises LabError as `greedy_search` does, and for
    more than 10,000 combinations.
    """
    options = [everything(p), *patterns(p, ones).tolist()]
    layers = list(network.layers.values())
    places = sum(granularity.shape(layer.ofmap, p).numel() for layer in layers)
    if len(options) ** places > MOST_PASSES:
        problem = f"{len(options)} options in {places} places are too many to try all"
        raise LabError(problem, f"keep to {MOST_PASSES:,} combinations, or search greedily")
    trials = Trials(network, split, [eps], batch_size)
    for codes in product(options, repeat=places):
        trials.run("network", dict(_masks(layers, granularity, p, codes)))
    return trials.found(eps)


def _masks(
    layers: list[SpatialLayer], granularity: Granularity, p: int, codes: Iterable[int]
) -> Iterator[tuple[str, Mask | None]]:
    """A mask for each layer, which takes as many of the codes as it has places."""
    left = iter(codes)
    for layer in layers:
        shape = granularity.shape(layer.ofmap, p)
        yield layer.name, or_none(p, torch.tensor([*islice(left, shape.numel())]).view(shape))
