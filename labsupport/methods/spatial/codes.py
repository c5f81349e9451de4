"""What every mask would save, from one pass: patches are kept as codes of what is not zero.

A pattern m predicts a patch of code z if z & m is 0. Counts of the codes answer this for all
patterns together: sums over subsets tell how many codes lie within the zeros of each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from labsupport.core.errors import LabError
from labsupport.data import Batched
from labsupport.methods.spatial.layer import SpatialLayer
from labsupport.methods.spatial.masks import Granularity, Ofmap
from labsupport.methods.spatial.network import SpatialNetwork
from labsupport.methods.spatial.patterns import count_ones, encode, everything
from labsupport.methods.spatial.statistics import watch

SMALLEST = {2: torch.uint8, 3: torch.int16, 4: torch.int32}  # types that hold the codes of p x p
AT_ONCE = 2**22  # counts in memory together


@dataclass(frozen=True, eq=False)
class PatchCodes:
    """The codes of a layer's patches, (N, C, rows, columns): bits are 1 where an image is not zero.

    `macs` are those of one position of the ofmap. An image takes a byte per patch of 2 x 2, two of
    3 x 3, four of 4 x 4.
    """

    p: int
    ofmap: Ofmap
    macs: int
    codes: Tensor = field(repr=False)

    def saved(self, granularity: Granularity, patterns: Tensor) -> Tensor:
        """MACs of an image that each pattern saves, wherever it may stand in a mask.

        float64 (channels or 1, rows or 1, columns or 1, patterns), means over the images; the sum
        over a mask's choices is what the mask saves in this layer. Raises LabError for codes that
        are no patterns.
        """
        all_ones = everything(self.p)
        if not bool(((patterns > 0) & (patterns <= all_ones)).all()):
            raise LabError(f"codes outside 1 to {all_ones}", f"take those of `patterns({self.p})`")
        zeros = all_ones - patterns.to(torch.int64)
        shape = granularity.shape(self.ofmap, self.p)
        saved = torch.zeros(*shape, len(patterns), dtype=torch.float64)
        for rows, columns, inside in self._regions():
            part = self.codes[:, :, rows, columns]
            fired = within(part, granularity, zeros, all_ones + 1)
            into = (rows, columns) if granularity.value[1] else (slice(None), slice(None))
            saved[:, into[0], into[1]] += fired * count_ones(zeros & inside, self.p)
        return saved * (self.macs / len(self.codes))

    def _regions(self) -> Iterator[tuple[slice, slice, Tensor]]:
        """Patches with the same positions inside the map: their rows, columns, and these, a code.

        Padded positions are zero, but nothing is saved there.
        """
        _, height, width = self.ofmap
        whole = (height // self.p, width // self.p)
        inside = encode(torch.ones(height, width), self.p)
        for rows in (slice(0, whole[0]), slice(whole[0], len(inside))):
            for columns in (slice(0, whole[1]), slice(whole[1], inside.shape[1])):
                codes = inside[rows, columns].flatten()
                if len(codes):
                    yield rows, columns, codes[0]


def patch_codes(
    network: SpatialNetwork, split: Batched, p: int, batch_size: int = 250
) -> dict[str, PatchCodes]:
    """The codes of what each spatial layer gets, by its name, from one pass over a split.

    The masks of enabled layers are in force: with all of them disabled these are the codes of the
    network as it was. Raises LabError for another p than 2, 3 or 4, or a split without images.
    """
    everything(p)
    parts: dict[str, list[Tensor]] = {name: [] for name in network.layers}

    def keep(layer: SpatialLayer, x: Tensor) -> None:
        parts[layer.name].append(encode(x, p).to("cpu", SMALLEST[p]))

    watch(network, split, keep, batch_size)
    return {
        name: PatchCodes(p, layer.ofmap, layer.macs, torch.cat(parts.pop(name)))
        for name, layer in network.layers.items()
    }


def within(
    codes: Tensor,
    granularity: Granularity,
    zeros: Tensor,
    size: int,
    weights: Tensor | None = None,
) -> Tensor:
    """How many patches lie within each set of zeros, or what they weigh together, (c, r, k, sets).

    `codes` are (N, C, rows, columns), below `size`, `weights` of the same shape; the patches of all
    images that share a pattern count together. int64, and float64 with weights.
    """
    of_filters, of_places = granularity.value
    kept = [axis for axis, own in ((1, of_filters), (2, of_places), (3, of_places)) if own]
    others = [axis for axis in range(4) if axis not in kept]

    def grouped(values: Tensor) -> tuple[Tensor, ...]:
        groups = values.permute(*kept, *others).flatten(len(kept))
        return torch.split(groups.reshape(-1, groups.shape[-1]), max(1, AT_ONCE // size))

    parts = grouped(codes)
    of_parts: Sequence[Tensor | None] = [None] * len(parts) if weights is None else grouped(weights)
    counts = [
        _within(_counts(part, size, weight))[:, zeros]
        for part, weight in zip(parts, of_parts, strict=True)
    ]
    layout = [codes.shape[axis] if axis in kept else 1 for axis in (1, 2, 3)]
    return torch.cat(counts).view(*layout, len(zeros))


def _counts(codes: Tensor, size: int, weights: Tensor | None) -> Tensor:
    """How often each code is in each row, or what its places there weigh together, (rows, size)."""
    first = size * torch.arange(len(codes))[:, None]
    at_once = max(1, AT_ONCE // len(codes))
    counts = torch.zeros(len(codes) * size, dtype=torch.int64 if weights is None else torch.float64)
    for start in range(0, codes.shape[1], at_once):
        columns = slice(start, start + at_once)
        weight = None if weights is None else weights[:, columns].double().flatten()
        counts += torch.bincount((codes[:, columns] + first).flatten(), weight, len(counts))
    return counts.view(-1, size)


def _within(counts: Tensor) -> Tensor:
    """For each set of positions, how much of the counts has all its ones in it; (rows, sets)."""
    rows, size = counts.shape
    for bit in range(size.bit_length() - 1):
        pairs = counts.view(rows, -1, 2, 2**bit)
        pairs[:, :, 1] += pairs[:, :, 0]
    return counts
