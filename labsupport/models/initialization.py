"""The weights that a network starts from."""

from __future__ import annotations

import copy

from torch import nn

from labsupport.core.errors import LabError
from labsupport.core.randomness import seeded


def drawn_anew(network: nn.Module, seed: int) -> nn.Module:
    """A copy whose weights are drawn as torch draws them for layers of their sizes.

    The random state outside stays as it was. Raises LabError for parameters of a module that has no
    `reset_parameters`.
    """
    copied = copy.deepcopy(network)
    with seeded(seed):
        for name, module in copied.named_modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
            elif next(module.parameters(recurse=False), None) is not None:
                problem = f"nothing says how the weights of {name or 'the network'} are drawn"
                raise LabError(problem, "give its class a method reset_parameters")
    return copied
