"""Weight sharing: the weights of a layer are a few values, which are trained as such."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from labsupport.core.errors import LabError
from labsupport.methods.sharing.codebooks import Start, Values, cluster, linear
from labsupport.methods.sharing.layers import make_plain_value
from labsupport.network.weights import Weights, weighted_layers

MOST_BITS = 8


class Shared(nn.Module):
    """Weights looked up in a codebook: code 0 is zero for good, code i the i-th centroid.

    The gradient of a centroid is the sum of those of its weights.
    """

    codes: Tensor

    def __init__(self, codes: Tensor, centroids: int) -> None:
        super().__init__()
        self.centroids = centroids
        self.register_buffer("codes", codes)

    def forward(self, codebook: Tensor) -> Tensor:
        """(centroids,) to weights of the codes' shape."""
        values = F.pad(codebook, (1, 0))
        # Unlike indexing, this sums gradients in the same order on any number of threads.
        return values.index_select(0, self.codes.flatten().long()).view(self.codes.shape)

    def stored(self, codebook: Tensor) -> Weights:
        """The weights by number, with the mean bits of their codes and of the codebook."""
        number = self.codes.numel()
        bits = number * math.log2(self.centroids + 1) + 8 * codebook.nbytes
        return Weights(number, bits / number, 8 * codebook.dtype.itemsize)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """The mean weight of each code, (centroids,); of a code without weights, zero."""
        codes, bins = self.codes.flatten().long(), self.centroids + 1
        sums = torch.bincount(codes, weight.flatten().double(), minlength=bins)
        counts = torch.bincount(codes, minlength=bins)
        return (sums / counts.clamp_min(1))[1:].to(weight.dtype)


def share(network: nn.Module, bits: int | Mapping[str, int], start: Start = linear) -> nn.Module:
    """A copy whose layers each have at most 2^bits different weights, and zeros, by k-means.

    The layers are linear ones and convolutions; `bits` is for all of them, or by name for some.
    Zeros stay zeros, whatever training does, and other weights follow their centroids; masks
    and other computed weights become plain ones first. `start` gives the first centroids. Raises
    LabError for bits outside 1 to 8, no such layer, and a layer without weights other than zero,
    with fewer of them than centroids, or with weights that are not finite.
    """
    shared = copy.deepcopy(network)
    for name, layer, width in weighted_layers(shared, bits):
        _share(layer, name, width, start)
    return shared


def shared_layers(network: nn.Module) -> dict[str, Shared]:
    """What the weights of a network's shared layers are looked up by, by the layers' names."""
    found = {}
    for name, layer in network.named_modules():
        if parametrize.is_parametrized(layer, "weight"):
            first = layer.get_submodule("parametrizations.weight.0")
            if isinstance(first, Shared):
                found[name] = first
    return found


def without_codebooks(network: nn.Module) -> nn.Module:
    """A copy that answers alike, its weights plain again and each trained by itself."""
    plain = copy.deepcopy(network)
    for name in shared_layers(plain):
        make_plain_value(plain.get_submodule(name))
    return plain


def _share(layer: nn.Module, name: str, bits: int, start: Start) -> None:
    weight = cast(Tensor, layer.weight).detach()
    values = weight.double().flatten().cpu().numpy()
    kept = values != 0
    _check(name, values, bits)
    codes = np.zeros(len(values), dtype=np.int16)
    centroids, places = cluster(values[kept], 2**bits, start)
    codes[kept] = places + 1
    make_plain_value(layer)
    on_device = torch.from_numpy(codes).view(weight.shape).to(weight.device)
    parametrize.register_parametrization(layer, "weight", Shared(on_device, len(centroids)))


def _check(name: str, values: Values, bits: int) -> None:
    if type(bits) is not int or bits not in range(1, MOST_BITS + 1):
        raise LabError(f"{bits!r} bits for layer {name}", f"give a whole number, 1 to {MOST_BITS}")
    if not np.isfinite(values).all():
        problem = f"layer {name} has weights that are not finite"
        raise LabError(problem, "look at how it was trained")
    kept = np.count_nonzero(values)
    if not kept:
        raise LabError(f"layer {name} has no weights other than zero", "prune less of it")
    if kept < 2**bits:
        problem = f"layer {name} has {kept} weights other than zero for {2**bits} centroids"
        raise LabError(problem, "give it fewer bits")
