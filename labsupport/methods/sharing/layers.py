"""The weights of a layer, computed or not, as plain ones."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn
from torch.nn.utils import parametrize

from labsupport.network.parametrized import make_plain


def make_plain_value(layer: nn.Module, name: str = "weight") -> None:
    """Keep the weight, or another tensor, that a layer has, as a parameter as frozen as it was."""
    learns = any(parameter.requires_grad for parameter in _behind(layer, name))
    value = cast(Tensor, getattr(layer, name)).detach().clone()
    make_plain(layer, name, nn.Parameter(value, requires_grad=learns))


def _behind(layer: nn.Module, name: str) -> list[nn.Parameter]:
    """What a tensor is, or is computed from."""
    if parametrize.is_parametrized(layer, name):
        return list(layer.get_submodule(f"parametrizations.{name}").parameters())
    return [layer.get_parameter(name)]
