import pytest
import torch
from made_gaussians import made
from torch import nn

from labsupport.data import Splits


@pytest.fixture(scope="session")
def splits():
    return Splits("made", made(96, 0), made(33, 1), made(40, 2), ("a", "b"), (0.0,), (1.0,), "f")


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.Dropout(0.2), nn.ReLU(), nn.Linear(8, 2))
