"""Whether what a module gives was computed by torch, or by something that torch cannot see."""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._pytree import tree_leaves

UNWRITTEN = frozenset({"empty", "empty_like", "new_empty", "empty_strided"})


class Origin(IntEnum):
    """Where the numbers in a tensor come from, from the call that is watched."""

    FOREIGN = 0  # not from torch: read from NumPy, or memory that torch has not written
    CONSTANT = 1  # parameters, buffers, new tensors, and what is computed from them
    INPUT = 2  # the call's input, and what is computed from it


class Origins:
    """The origins of the tensors in one call of a module, by their memory.

    A tensor computed from the input and from one that existed before the call is of the input. For
    torch the latter looks like foreign numbers: so a sum of the input and of numbers that another
    library computed passes as the input's.
    """

    def __init__(self, module: nn.Module, inputs: object) -> None:
        self.of: dict[int, Origin] = {}
        self.known: list[StorageWeakRef] = []  # no other tensor takes the place of one in `of`
        self._set([*module.parameters(), *module.buffers()], Origin.CONSTANT)
        self._set(inputs, Origin.INPUT)

    def note(self, operator: str, operands: object, output: object) -> None:
        """An operator has computed `output` from `operands`."""
        origins = [self._origin(storage) for storage in _storages(operands)]
        if operator in UNWRITTEN:
            origin = Origin.FOREIGN
        elif Origin.INPUT in origins:
            origin = Origin.INPUT
        else:
            origin = min(origins, default=Origin.CONSTANT)
        self._set(output, origin)

    def depends_on_input(self, tensors: object) -> bool:
        """Whether one of the tensors is the input, or was computed from it."""
        return any(self._origin(storage) is Origin.INPUT for storage in _storages(tensors))

    def is_foreign(self, output: object) -> bool:
        """Whether one of the tensors in what a module gives holds foreign numbers."""
        return any(self._origin(storage) is Origin.FOREIGN for storage in _storages(output))

    def _origin(self, storage: torch.UntypedStorage) -> Origin:
        return self.of.get(storage._cdata, Origin.FOREIGN)

    def _set(self, tensors: object, origin: Origin) -> None:
        for storage in _storages(tensors):
            self.of[storage._cdata] = origin
            self.known.append(StorageWeakRef(storage))  # type: ignore[no-untyped-call]


def _storages(values: object) -> Iterator[torch.UntypedStorage]:
    for value in tree_leaves(values):
        if isinstance(value, Tensor) and value.layout == torch.strided:
            yield value.untyped_storage()
