"""Gradient checkpointing: training that keeps less and computes some of it twice."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint_sequential

from labsupport.core.errors import LabError


class Checkpointed(nn.Sequential):
    """Layers in a row of which training keeps only what enters each segment.

    The backward pass computes a segment's inside again when it needs it: the last segment is kept
    as it is. Answers and gradients stay the same; layers that draw at random are not meant for it.
    Chen et al. 2016, "Training deep nets with sublinear memory cost".
    Raises LabError for fewer than one segment or more than there are layers.
    """

    def __init__(self, layers: nn.Sequential, segments: int) -> None:
        super().__init__(*layers)
        if not 1 <= segments <= len(layers):
            problem = f"{segments} segments of {len(layers)} layers"
            raise LabError(problem, "give from one segment up to one for each layer")
        self.segments = segments

    def forward(self, x: Tensor) -> Tensor:
        """The answers of the layers in a row."""
        how = {"use_reentrant": False, "preserve_rng_state": False}
        answers = checkpoint_sequential(list(self), self.segments, x, **how)  # type: ignore[no-untyped-call]
        return cast(Tensor, answers)
