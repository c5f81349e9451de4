"""The layers of a network that a method is to change, and their weights as plain ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar, cast

from torch import Tensor, nn
from torch.nn.utils import parametrize

from labsupport.core.errors import LabError
from labsupport.network.parametrized import make_plain
from labsupport.network.weights import WEIGHTED

T = TypeVar("T")


def chosen(network: nn.Module, given: T | Mapping[str, T]) -> Iterator[tuple[str, nn.Module, T]]:
    """Linear layers and convolutions with what is given for all, or by name for some.

    Name, layer and what is given. Raises LabError for a network without such a layer, and a name
    that is none.
    """
    layers = {name: layer for name, layer in network.named_modules() if isinstance(layer, WEIGHTED)}
    if not layers:
        raise LabError(f"a {type(network).__name__} has no weights to share", "give one that has")
    each = given if isinstance(given, Mapping) else dict.fromkeys(layers, given)
    if unknown := [name for name in each if name not in layers]:
        raise LabError(f"there is no layer {unknown[0]}", f"there are {', '.join(layers)}")
    for name, value in each.items():
        yield name or type(network).__name__, layers[name], value


def make_plain_value(layer: nn.Module, name: str = "weight") -> None:
    """Keep the weight, or another tensor, that a layer has, as a parameter as frozen as it was."""
    learns = any(parameter.requires_grad for parameter in _behind(layer, name))
    value = cast(Tensor, getattr(layer, name)).detach().clone()
    make_plain(layer, name, nn.Parameter(value, requires_grad=learns))
    if name == "weight" and "bias" in layer._parameters:  # it comes last, as in a new layer
        layer.register_parameter("bias", layer._parameters.pop("bias"))


def _behind(layer: nn.Module, name: str) -> list[nn.Parameter]:
    """What a tensor is, or is computed from."""
    if parametrize.is_parametrized(layer, name):
        return list(layer.get_submodule(f"parametrizations.{name}").parameters())
    return [layer.get_parameter(name)]
