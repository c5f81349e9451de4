"""Networks with layers decomposed, all at once or one at a time."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping

from torch import nn

from labsupport.methods.decomposition.pieces import Decomposition
from labsupport.network.replacing import replaced
from labsupport.network.weights import weighted_layers

Retrain = Callable[[nn.Module], nn.Module]


def decompose(network: nn.Module, chosen: Mapping[str, Decomposition]) -> nn.Module:
    """A copy with layers decomposed, by name; no training.

    `decompose(net, {"0": Tucker(8, 16), "7": SVD(20)})`. Weights that a layer computes, as masks
    and codebooks do, are taken as they are and become plain. Raises LabError for a layer that is
    not there, and one that the decomposition, or its ranks, does not fit.
    """
    result = copy.deepcopy(network)
    layers: Iterator[tuple[str, nn.Module, Decomposition]] = weighted_layers(result, chosen)
    made = {layer: how(layer, name) for name, layer, how in layers}
    return replaced(result, made)


def decompose_along(
    network: nn.Module, chosen: Mapping[str, Decomposition], retrain: Retrain
) -> Iterator[nn.Module]:
    """The network after each layer: one more decomposed, in the given order, then retrained.

    Raises LabError as `decompose` does, for a layer that is not there before anything is retrained.
    """
    layers: Iterator[tuple[str, nn.Module, Decomposition]] = weighted_layers(network, chosen)
    list(layers)
    for name, how in chosen.items():
        network = retrain(decompose(network, {name: how}))
        yield network
