"""How many weights a network has, and how many bits they, and what they multiply, are stored in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import nn

WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)  # layers that multiply by `weight`


@runtime_checkable
class HasWeights(Protocol):
    """A module whose weights are not torch's parameters, so that it says itself what they are.

    Packed binary layers, shared weights, networks of another runtime. Bits may be fractions, as
    means; `activation_bits` are those of what the weights multiply.
    """

    weight_count: int
    weight_bits: float
    activation_bits: float


@dataclass(frozen=True)
class Weights:
    """Weights by number, their mean bits, and the mean bits of what they multiply."""

    count: int
    bits: float
    activation_bits: float


def weights_of(network: nn.Module) -> Weights:
    """All weights of a network; those that layers share count once.

    A parameter multiplies what has its own type. Bits are NaN for a network without weights.
    """
    groups = list(_groups(network, set()))
    count = sum(group.count for group in groups)
    bits = sum(group.count * group.bits for group in groups)
    activation_bits = sum(group.count * group.activation_bits for group in groups)
    each = [total / count if count else float("nan") for total in (bits, activation_bits)]
    return Weights(count, *each)


def parameter_count(model: nn.Module) -> int:
    """Elements of all weights; those that layers share count once."""
    return weights_of(model).count


def _groups(module: nn.Module, seen: set[int]) -> Iterator[Weights]:
    if id(module) in seen:
        return
    seen.add(id(module))
    if isinstance(module, HasWeights):
        yield Weights(module.weight_count, module.weight_bits, module.activation_bits)
        return
    for parameter in module.parameters(recurse=False):
        if id(parameter) not in seen:
            seen.add(id(parameter))
            bits = 8 * parameter.dtype.itemsize
            yield Weights(parameter.numel(), bits, bits)
    for child in module.children():
        yield from _groups(child, seen)
