"""What all tests share: one thread, and no figure windows."""

import matplotlib
import pytest
import torch

matplotlib.use("agg")  # here only: kernels that a test starts draw inline, as for a reader


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)
