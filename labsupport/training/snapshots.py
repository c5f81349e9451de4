"""Copies of a network taken while it trains."""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import Any

import torch
from torch import nn

from labsupport.core.errors import LabError
from labsupport.data import Splits
from labsupport.training.loop import fit
from labsupport.training.recipe import Recipe
from labsupport.training.schedules import Cyclic


class Snapshots:
    """A hook for `fit`'s `after_step` that keeps the network as it is after some of the steps.

    For a snapshot ensemble these are the ends of a cyclic schedule's cycles:
    `Snapshots(schedule.ends(recipe.steps(len(splits.train))))`. The copies, in `models`, are in
    eval mode; a second training adds its own. `fit_or_load` keeps one network and refuses this
    hook: use `derive(folder, snapshots, model, ...)`.
    """

    def __init__(self, steps: Collection[int]) -> None:
        self.steps = frozenset(steps)
        self.models: list[nn.Module] = []

    def __call__(self, model: nn.Module, step: int) -> None:
        """Keep a copy of `model` if this is one of the steps."""
        if step in self.steps:
            copied = copy.deepcopy(model).to(memory_format=torch.contiguous_format)
            self.models.append(copied.eval())


def snapshots(model: nn.Module, splits: Splits[Any], recipe: Recipe, seed: int) -> nn.ModuleList:
    """The networks at the ends of the cycles of a training, for `derive` to keep.

    Raises LabError for a recipe whose schedule has no cycles, or whose epochs they do not divide.
    """
    if not isinstance(recipe.schedule, Cyclic):
        problem = f"a {type(recipe.schedule).__name__} schedule has no cycles"
        raise LabError(problem, "take Cyclic(cycles)")
    if recipe.epochs % recipe.schedule.cycles:
        problem = f"{recipe.schedule.cycles} cycles in {recipe.epochs} epochs"
        raise LabError(problem, "train a whole number of epochs in each cycle")
    kept = Snapshots(recipe.schedule.ends(recipe.steps(len(splits.train))))
    fit(model, splits, recipe, seed, after_step=kept)
    return nn.ModuleList(kept.models)
