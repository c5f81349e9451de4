"""Torch's random state, for a block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Run a block from `seed`; torch's random state outside it stays as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
