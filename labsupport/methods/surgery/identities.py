"""Channels by number: which of them belong together, which cannot be removed, and why."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Size, Tensor


class Identities:
    """Numbers for single channels; joined ones count as the same, fixed ones have to stay.

    `opaque` numbers stand for values of which it is not known what they are made of: what is
    joined with one of them is fixed.
    """

    def __init__(self) -> None:
        self._labels = torch.empty(0, dtype=torch.int64)
        self._reasons: dict[int, str] = {}
        self._opaque: dict[int, str] = {}

    def new(self, count: int) -> Tensor:
        """Numbers for so many channels, int64 (count,)."""
        start = len(self._labels)
        added = torch.arange(start, start + count)
        self._labels = torch.cat([self._labels, added])
        return added

    def opaque(self, why: str) -> Tensor:
        """A number that fixes what is joined with it, int64 (1,)."""
        number = self.new(1)
        self._opaque[int(number)] = why
        return number

    def join(self, some: Tensor, others: Tensor) -> None:
        """Let channels belong together, element by element of two tensors of one shape."""
        some, others = some.flatten(), others.flatten()
        if torch.equal(some, others):
            return
        for numbers, partners in ((some, others), (others, some)):
            self._fix_partners(numbers, partners)
        known = ~(self._is_opaque(some) | self._is_opaque(others))
        pairs = self._labels[some[known]].numpy(), self._labels[others[known]].numpy()
        if not (pairs[0] == pairs[1]).all():
            size = len(self._labels)
            graph = coo_array((np.ones(len(pairs[0])), pairs), shape=(size, size))
            _, together = connected_components(graph, directed=False)
            _, first = np.unique(together, return_index=True)
            self._labels = torch.from_numpy(first[together])[self._labels]

    def fix(self, numbers: Tensor, why: str) -> None:
        """Let channels stay; the first reason counts."""
        for number in dict.fromkeys(numbers.flatten().tolist()):
            self._reasons.setdefault(number, why)

    def labels(self, numbers: Tensor) -> Tensor:
        """The first number of those that belong together, for each, in the same shape."""
        return self._labels[numbers]

    def reasons(self) -> dict[int, str]:
        """Why channels are fixed, by their label."""
        by_label: dict[int, str] = {}
        for number, why in self._reasons.items():
            by_label.setdefault(int(self._labels[number]), why)
        return by_label

    def _is_opaque(self, numbers: Tensor) -> Tensor:
        return torch.isin(numbers, torch.tensor([*self._opaque], dtype=torch.int64))

    def _fix_partners(self, numbers: Tensor, partners: Tensor) -> None:
        found = self._is_opaque(numbers)
        for number in set(numbers[found].tolist()):
            self.fix(partners[numbers == number], self._opaque[number])


@dataclass(frozen=True)
class Traced:
    """The channels of a traced tensor: a number for each of its elements.

    `numbers` has size 1 along the axes on which nothing changes. `not_zero` says which call gives
    something else than zero for a channel of zeros; it is empty where zeros stay zeros.
    """

    numbers: Tensor
    shape: Size
    not_zero: str = ""

    @property
    def varying(self) -> list[int]:
        """The axes along which channels change."""
        return [axis for axis, size in enumerate(self.numbers.shape) if size > 1]

    @property
    def full(self) -> Tensor:
        """A number for each element, in the tensor's own shape."""
        return self.numbers.expand(self.shape)

    def on_axis(self, axis: int) -> Tensor | None:
        """A number for each position on an axis; None where channels change on another one, too."""
        axis %= len(self.shape)
        if any(other != axis for other in self.varying):
            return None
        return self.numbers.flatten().expand(self.shape[axis])


def compressed(numbers: Tensor) -> Tensor:
    """The same numbers with size 1 along each axis on which nothing changes."""
    for axis in range(numbers.dim()):
        first = numbers.narrow(axis, 0, 1)
        if numbers.shape[axis] > 1 and bool((numbers == first).all()):
            numbers = first
    return numbers.clone()
