"""Other modules in the place of some of a network's own."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn


def replaced(network: nn.Module, made: Mapping[nn.Module, nn.Module]) -> nn.Module:
    """The network with other modules in place of some of its own, at every place where they are."""
    if network in made:
        return made[network]
    for name, module in list(network.named_modules(remove_duplicate=False)):
        if module in made:
            network.set_submodule(name, made[module])
    return network
