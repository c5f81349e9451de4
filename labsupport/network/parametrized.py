"""Layers that compute their weights, as masks and codebooks do, made plain again."""

from __future__ import annotations

from torch import nn
from torch.nn.utils import parametrize


def make_plain(layer: nn.Module, name: str, value: nn.Parameter) -> None:
    """Let a layer hold `value` under `name`, and compute it no more.

    `remove_parametrizations` takes the tensor off the layer's class, which copies of the layer
    share; and it looks for a class that has no other parametrization.
    """
    if parametrize.is_parametrized(layer, name):
        _stop_computing(layer, name)
    layer.register_parameter(name, value)


def _stop_computing(layer: nn.Module, name: str) -> None:
    kind, left = type(layer), layer.get_submodule("parametrizations")
    del left._modules[name]
    if left._modules:
        others = {key: of for key, of in vars(kind).items() if key != name}
        layer.__class__ = type(kind.__name__, kind.__bases__, others)
    else:
        layer.__class__ = kind.__bases__[0]
        del layer.parametrizations
