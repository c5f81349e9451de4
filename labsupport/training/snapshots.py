"""Copies of a network taken while it trains."""

from __future__ import annotations

import copy
from collections.abc import Collection

import torch
from torch import nn


class Snapshots:
    """A hook for `fit`'s `after_step` that keeps the network as it is after some of the steps.

    For a snapshot ensemble these are the ends of a cyclic schedule's cycles:
    `Snapshots(schedule.ends(recipe.steps(len(splits.train))))`. The copies, in `models`, are in
    eval mode; a second training adds its own.
    """

    def __init__(self, steps: Collection[int]) -> None:
        self.steps = frozenset(steps)
        self.models: list[nn.Module] = []

    def __call__(self, model: nn.Module, step: int) -> None:
        """Keep a copy of `model` if this is one of the steps."""
        if step in self.steps:
            copied = copy.deepcopy(model).to(memory_format=torch.contiguous_format)
            self.models.append(copied.eval())
