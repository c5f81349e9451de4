"""Conditions of a measurement, put back afterwards: evaluation mode, thread count, garbage."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from labsupport.core.errors import LabError


@contextmanager
def evaluating(*models: nn.Module) -> Iterator[None]:
    """Put models into evaluation mode, and each of their modules back into its own mode after."""
    modes = [(m, m.training) for model in models for m in model.modules()]
    try:
        for model in models:
            model.eval()
        yield
    finally:
        # Not model.train(): it would also wake the modules that were frozen on purpose.
        for module, mode in modes:
            module.training = mode


@contextmanager
def on_threads(threads: int) -> Iterator[None]:
    """Let torch compute on so many threads. Raises LabError for fewer than one."""
    before = torch.get_num_threads()
    set_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Keep the collector from running by itself inside what is measured.

    What is there already is set aside, so that `gc.collect()` inside takes a moment.
    """
    was_enabled, is_outermost = gc.isenabled(), not gc.get_freeze_count()
    gc.disable()
    gc.freeze()
    try:
        yield
    finally:
        if is_outermost:
            gc.unfreeze()
        if was_enabled:
            gc.enable()


def set_threads(threads: int) -> None:
    """Set the thread count. Raises LabError for fewer than one."""
    torch.set_num_threads(some_threads(threads))


def some_threads(threads: int) -> int:
    """The thread count as given. Raises LabError for fewer than one."""
    if threads < 1:
        raise LabError(f"cannot compute on {threads} threads", "give at least one thread")
    return threads
