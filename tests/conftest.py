"""What all tests share: one thread, no figure windows, and the order of their files."""

import matplotlib
import pytest
import torch
from hypothesis import HealthCheck, settings

# Neither a busy machine nor the luck of a draw decides whether a change may land.
settings.register_profile(
    "course", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("course")
matplotlib.use("agg")  # here only: kernels that a test starts draw inline, as for a reader


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup():
    torch.set_num_threads(1)  # before fixtures of any scope: they would compute on what was left


def pytest_collection_modifyitems(items):
    """Files that need the most time go first, so that two workers end at about the same time."""
    items.sort(key=lambda item: item.get_closest_marker("timeout") is None)
