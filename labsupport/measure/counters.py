"""MACs and parameters by counters from outside, to set beside `network.cost`."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from labsupport.network.calls import example, is_leaf, run
from labsupport.network.modes import evaluating

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)


def thop_totals(model: nn.Module, input_shape: tuple[int, ...]) -> tuple[int, int]:
    """(MACs, parameters) by thop, with normalization and pooling at zero MACs.

    Counted on a copy, since thop leaves attributes on what it profiles, and inside a container,
    since it forgets the parameters of the outermost module.
    """
    with warnings.catch_warnings():
        # Imported late: it needs distutils, which warns on 3.11 and is setuptools' from 3.12 on.
        warnings.simplefilter("ignore", DeprecationWarning)
        import thop
        from thop.vision import basic_hooks

    def rule(kind: type[nn.Module]) -> Any:  # noqa: ANN401  (thop is untyped)
        if issubclass(kind, nn.Linear):
            return basic_hooks.count_linear
        return basic_hooks.count_convNd if issubclass(kind, CONVOLUTIONS) else basic_hooks.zero_ops

    wrapped = nn.Sequential(copy.deepcopy(model))
    rules = {type(module): rule(type(module)) for module in wrapped.modules() if is_leaf(module)}
    x = example(model, input_shape)
    macs, parameters = thop.profile(wrapped, inputs=(x,), custom_ops=rules, verbose=False)
    return int(macs), int(parameters)


def torch_macs(model: nn.Module, input_shape: tuple[int, ...]) -> int:
    """MACs by torch's own counter, which prints two operations for each."""
    counter = FlopCounterMode(display=False)
    with evaluating(model), torch.inference_mode(), counter:
        run(model, example(model, input_shape))
    return int(counter.get_total_flops()) // 2
