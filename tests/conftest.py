"""What all tests share: one thread, and no figure windows."""

from __future__ import annotations

import os

os.environ.setdefault("MPLBACKEND", "agg")

import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)
    return
