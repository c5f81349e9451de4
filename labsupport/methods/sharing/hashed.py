"""HashedNets: each weight of a layer is one of few values, chosen and signed by a hash.

Chen et al. 2015, "Compressing neural networks with the hashing trick". Where the weights of a layer
stand in its table follows from a seed, so that a file holds the table alone.
"""

from __future__ import annotations

import copy
import math
import operator
import zlib
from collections.abc import Mapping
from numbers import Real
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import parametrize

from labsupport.core.errors import LabError
from labsupport.methods.sharing.layers import make_plain_value
from labsupport.network.weights import weighted_layers

Words = NDArray[np.uint64]
VALUE, SIGN, START = range(3)  # what is drawn from a layer's seed, each by a hash of its own


class Hashed(nn.Module):
    """Weights looked up in a table of values by a hash of their place, with the sign of another.

    The gradient of a value is the sum of those of its weights, each with its sign.
    """

    def __init__(self, shape: tuple[int, ...], values: int, seed: int) -> None:
        super().__init__()
        self.shape, self.values, self.seed = tuple(shape), values, seed
        self._places = self._hash()

    def __getstate__(self) -> dict[str, Any]:
        """All but what the seed gives again: files and copies go without."""
        return {name: value for name, value in self.__dict__.items() if name != "_places"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._places = self._hash()

    def forward(self, table: Tensor) -> Tensor:
        """(values,) to weights of the layer's shape."""
        places = self._places_on(table.device)
        return torch.cat([table, -table]).index_select(0, places).view(self.shape)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """The table, (values,), whose weights are nearest to `weight` in squares."""
        places = self._places_on(weight.device)
        both = torch.bincount(places, weight.flatten().double(), 2 * self.values)
        signed = both[: self.values] - both[self.values :]
        counts = torch.bincount(places % self.values, minlength=self.values)
        return (signed / counts.clamp_min(1)).to(weight.dtype)

    def _places_on(self, device: torch.device) -> Tensor:
        if self._places.device != device:
            self._places = self._places.to(device)
        return self._places

    def _hash(self) -> Tensor:
        """For each weight the place of its value, in the second half of 2 x values if negative."""
        size = math.prod(self.shape)
        places = _drawn(size, self.seed, VALUE) % np.uint64(self.values)
        negative = _drawn(size, self.seed, SIGN) >> np.uint64(63)
        both = places + negative * np.uint64(self.values)
        return torch.from_numpy(both.astype(np.int64))


def hash_numbers(numbers: Words, seed: int) -> Words:
    """Numbers of 64 bits that look drawn by chance, another row of them for each seed.

    SplitMix64 (Steele et al. 2014), begun at the number that the seed itself becomes.
    """
    begin = _mix(np.array([seed % 2**64], dtype=np.uint64))
    return _mix(begin + numbers * np.uint64(0x9E3779B97F4A7C15))


def hash_weights(
    network: nn.Module, fraction: float | Mapping[str, float], seed: int = 0
) -> nn.Module:
    """A copy, to be trained from scratch, whose layers have a fraction of their weights as values.

    The layers are linear ones and convolutions; `fraction` is for all of them, or by name for
    some. The values are that many of the layer's weights, drawn from the seed, so that a new
    layer begins with weights distributed as they were. Raises LabError for a fraction outside
    (0, 1], a seed that is no whole number, no such layer, and a layer without weights or with some
    that are not finite.
    """
    hashed, seed = copy.deepcopy(network), _whole(seed)
    for name, layer, share in weighted_layers(hashed, fraction):
        own = _one(zlib.crc32(name.encode()))  # whichever other layers are hashed
        _hash_layer(layer, name, share, int(hash_numbers(own, seed)[0] >> np.uint64(2)))
    return hashed


def _hash_layer(layer: nn.Module, name: str, fraction: float, seed: int) -> None:
    if not _is_share(fraction):
        problem = f"a fraction of {fraction!r} for layer {name}"
        raise LabError(problem, "give a number above 0, at most 1")
    make_plain_value(layer)
    weight = cast(Tensor, layer.weight).detach()
    if not weight.numel() or not weight.isfinite().all():
        problem = f"layer {name} has no weights, or some that are not finite"
        raise LabError(problem, "look at how it was made")
    values = max(1, round(fraction * weight.numel()))
    first = np.argsort(_drawn(weight.numel(), seed, START))[:values]
    table = weight.flatten()[torch.from_numpy(first).to(weight.device)]
    parametrize.register_parametrization(layer, "weight", Hashed(weight.shape, values, seed))
    layer.get_parameter("parametrizations.weight.original").data = table


def _is_share(fraction: object) -> bool:
    if isinstance(fraction, bool) or not isinstance(fraction, Real):
        return False
    return 0 < float(fraction) <= 1


def _whole(seed: int) -> int:
    """A seed as Python's own number: NumPy's overflow. Raises LabError for one with a fraction."""
    try:
        return operator.index(seed)
    except TypeError:
        raise LabError(f"a seed of {seed!r}", "give a whole number") from None


def _mix(words: Words) -> Words:
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def _drawn(size: int, seed: int, what: int) -> Words:
    return hash_numbers(np.arange(size, dtype=np.uint64), 3 * seed + what)


def _one(number: int) -> Words:
    return np.array([number], dtype=np.uint64)
