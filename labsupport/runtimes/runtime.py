"""What runs a network: how a copy of it is made ready, its threads, the memory that it holds."""

from __future__ import annotations

import copy
from itertools import chain
from typing import Protocol, cast

from torch import Tensor, nn

from labsupport.core.errors import LabError
from labsupport.core.tensors import components
from labsupport.network.modes import set_threads, some_threads


class Runtime(Protocol):
    """An engine that computes networks. A network of another than torch has it as `runtime`."""

    name: str

    def replica(self, network: nn.Module, threads: int) -> nn.Module:
        """A copy elsewhere in memory, ready to be called on so many threads.

        Raises LabError for a network that cannot be copied, and for fewer than one thread.
        """

    def set_threads(self, threads: int) -> None:
        """Called before a turn on the clock, for an engine whose threads are the process's."""

    def resident_bytes(self, network: nn.Module) -> int:
        """Bytes that the network holds in memory between two calls."""


class Torch:
    """PyTorch itself: threads are the process's, and what is resident are the tensors."""

    name = "torch"

    def replica(self, network: nn.Module, threads: int) -> nn.Module:
        """A deep copy; parts that another engine runs have their own threads from now on."""
        some_threads(threads)
        try:
            return _with_parts_on(copy.deepcopy(network), threads)
        except (RuntimeError, TypeError) as error:
            problem = f"a {type(network).__name__} cannot be copied ({error})"
            raise LabError(problem, "keep in it nothing that copy.deepcopy refuses") from None

    def set_threads(self, threads: int) -> None:
        """Torch's own threads, those of the process."""
        set_threads(threads)

    def resident_bytes(self, network: nn.Module) -> int:
        """Bytes of all parameters and buffers; of sparse ones, of values and indices."""
        tensors: chain[Tensor] = chain(network.parameters(), network.buffers())
        parts = (components("", tensor).values() for tensor in tensors)
        return sum(part.nbytes for part in chain.from_iterable(parts))


TORCH: Runtime = Torch()


def runtime_of(network: nn.Module) -> Runtime:
    """The engine that computes a network: its own `runtime`, or torch."""
    return cast(Runtime, getattr(network, "runtime", TORCH))


def _with_parts_on(network: nn.Module, threads: int) -> nn.Module:
    """The network, with replicas of those of its modules that another engine than torch runs.

    A part that stands in several places is one part afterwards too.
    """
    replicas = {
        part: runtime.replica(part, threads)
        for part in network.modules()
        if part is not network and (runtime := runtime_of(part)) is not TORCH
    }
    for module in list(network.modules()):
        for name, part in module._modules.items():  # named_children leaves the second place out
            if part in replicas:
                setattr(module, name, replicas[part])
    return network
