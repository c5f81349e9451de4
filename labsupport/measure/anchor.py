"""The anchor: LeNet-5 on one image, clocked in every clocking; ratios to it can be compared."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor, nn

from labsupport.models import build
from labsupport.network.calls import run
from labsupport.runtimes.runtime import TORCH

ANCHOR = "anchor"  # its name among what is clocked
SHAPE = (1, 28, 28)


def make_anchor(device: torch.device) -> Callable[[], Tensor]:
    """A call of a fresh copy, with the weights of seed 0, on a gray image."""
    model = TORCH.replica(_lenet5(), 1).to(device)
    image = torch.full((1, *SHAPE), 0.5, device=device)

    def call() -> Tensor:
        with torch.inference_mode():
            return run(model, image)

    return call


@lru_cache(maxsize=1)
def _lenet5() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build("lenet5", SHAPE, 10).eval()
