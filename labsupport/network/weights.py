"""How many weights a network has, and how many bits they, and what they multiply, are stored in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList

from labsupport.core.errors import LabError

T = TypeVar("T")
WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)  # layers that multiply by `weight`


@runtime_checkable
class HasWeights(Protocol):
    """A module whose weights are not torch's parameters, so that it says itself what they are.

    Packed binary layers, networks of another runtime. Bits may be fractions, as means;
    `activation_bits` are those of what the weights multiply.
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


@runtime_checkable
class StoresWeights(Protocol):
    """What computes a layer's weights from few values, and is stored in place of them."""

    def stored(self, values: Tensor) -> Weights:
        """The weights by number, with the mean bits of all that is stored for them."""


def few_bit_weights(number: int, bits: float, others: Iterable[Tensor | None]) -> Weights:
    """So many weights of few bits, and other numbers of a layer as they are stored.

    `activation_bits` are NaN: the layer knows them.
    """
    stored = [tensor for tensor in others if tensor is not None]
    count = number + sum(tensor.numel() for tensor in stored)
    total = number * bits + sum(8 * tensor.nbytes for tensor in stored)
    return Weights(count, total / count if count else 0.0, float("nan"))


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
    if isinstance(module, ParametrizationList) and isinstance(module[0], StoresWeights):
        yield module[0].stored(module.get_parameter("original"))
        return
    for parameter in module.parameters(recurse=False):
        if id(parameter) not in seen:
            seen.add(id(parameter))
            bits = 8 * parameter.dtype.itemsize
            yield Weights(parameter.numel(), bits, bits)
    for child in module.children():
        yield from _groups(child, seen)


def weighted_layers(
    network: nn.Module, given: T | Mapping[str, T]
) -> Iterator[tuple[str, nn.Module, T]]:
    """Linear layers and convolutions with what is given for all, or by name for some.

    Name (of a lone layer its class), layer and what is given. Raises LabError for a network without
    such a layer, and a name that is none.
    """
    layers = {name: layer for name, layer in network.named_modules() if isinstance(layer, WEIGHTED)}
    if not layers:
        problem = f"a {type(network).__name__} has no linear layer and no convolution"
        raise LabError(problem, "give a network that has one")
    each = given if isinstance(given, Mapping) else dict.fromkeys(layers, given)
    for name, value in each.items():
        if name not in layers:
            raise LabError(f"there is no layer {name}", f"there are {', '.join(layers)}")
        yield name or type(network).__name__, layers[name], value
