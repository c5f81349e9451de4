"""Masks: a pattern for every patch of a layer's ofmap, at one of four granularities."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Self

import torch
from torch import Tensor

from labsupport.core.errors import LabError
from labsupport.methods.spatial.patterns import decode, encode, everything, patch_grid

WHOLE = {torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64}
Ofmap = tuple[int, int, int]  # channels, height, width of what a layer gives for one image


class Granularity(Enum):
    """What has a pattern of its own; a pair says whether filters and whether places differ.

    The source's names for them are uniform layer, uniform patch (one pattern in all patches of a
    filter), uniform filter (all filters have the same patches) and max granularity.
    """

    LAYER = (False, False)
    FILTER = (True, False)
    POSITION = (False, True)
    PATCH = (True, True)

    def shape(self, ofmap: Ofmap, p: int) -> torch.Size:
        """The shape of a mask's codes: 1 along the axes where all have the same pattern."""
        of_filters, of_places = self.value
        channels, height, width = ofmap
        rows, columns = patch_grid(height, width, p) if of_places else (1, 1)
        return torch.Size((channels if of_filters else 1, rows, columns))


@dataclass(frozen=True, eq=False)
class Mask:
    """Patterns for the patches of p x p of an ofmap.

    `codes` are whole numbers (channels or 1, rows or 1, columns or 1), 1 along axes where all have
    the same pattern. A single patch may have all ones: it is computed as a whole. Raises LabError
    for another p than 2, 3 or 4, and codes that are no such tensor.
    """

    p: int
    codes: Tensor

    def __post_init__(self) -> None:
        everything(self.p)
        dtype = self.codes.dtype
        if self.codes.dim() != 3 or dtype not in WHOLE:
            problem = f"codes of shape {tuple(self.codes.shape)} and type {dtype}"
            raise LabError(problem, "give whole numbers (channels, rows, columns)")
        # A narrow type could not hold the codes that these are compared with.
        object.__setattr__(self, "codes", self.codes.long())

    @classmethod
    def uniform(cls, p: int, code: int) -> Self:
        """One pattern for a whole layer, whatever its ofmap."""
        return cls(p, torch.full((1, 1, 1), code))

    @classmethod
    def from_full(cls, full: Tensor, p: int) -> Self:
        """The mask of zeros and ones for every position (channels, rows p, columns p).

        Raises LabError for maps that patches do not fill: where an ofmap has a ragged edge, the
        mask goes on into its padding.
        """
        everything(p)
        if full.dim() != 3 or full.shape[1] % p or full.shape[2] % p:
            problem = f"a full mask of shape {tuple(full.shape)} for patches of {p} x {p}"
            raise LabError(problem, f"give (channels, height, width), both multiples of {p}")
        return cls(p, encode(full, p))

    def full(self, ofmap: Ofmap) -> Tensor:
        """Where positions are computed, bool (channels, rows p, columns p), padding included."""
        return decode(self.codes.expand(Granularity.PATCH.shape(ofmap, self.p)), self.p)

    def granularity(self, ofmap: Ofmap) -> Granularity | None:
        """The first granularity, from coarse to fine, of whose shape the codes are; None: none."""
        fitting = (g for g in Granularity if g.shape(ofmap, self.p) == self.codes.shape)
        return next(fitting, None)

    def check(self, ofmap: Ofmap, layer: str) -> None:
        """Raises LabError, in the name of a layer, for a mask that its ofmap cannot have.

        That is one of another shape, one of all ones, or one with a patch of all zeros or a code
        that is none.
        """
        if self.granularity(ofmap) is None:
            shapes = ", ".join(str(tuple(g.shape(ofmap, self.p))) for g in Granularity)
            problem = f"a mask of shape {tuple(self.codes.shape)} for {layer}"
            raise LabError(problem, f"its ofmap of {ofmap} takes one of {shapes}")
        all_ones = everything(self.p)
        if bool(((self.codes < 0) | (self.codes > all_ones)).any()):
            problem = f"the mask for {layer} has codes outside 1 to {all_ones}"
            raise LabError(problem, f"take codes of `patterns({self.p})`")
        if bool((self.codes == 0).any()):
            problem = f"the mask for {layer} has patches of all zeros, which look at nothing"
            raise LabError(problem, "compute at least one position of a patch")
        if bool((self.codes == all_ones).all()):
            problem = f"the mask for {layer} is all ones, which predict nothing"
            raise LabError(problem, "disable the layer")
