"""Conditions of a measurement are put back, whatever happens inside."""

import pytest
import torch
from torch import nn

from labsupport.network.calls import device_of, example
from labsupport.network.modes import evaluating, on_threads


def test_modes_are_put_back_after_an_error():
    model = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(2))
    model[1].eval()
    with pytest.raises(ZeroDivisionError), evaluating(model):
        assert not model[0].training
        raise ZeroDivisionError
    assert (model.training, model[0].training, model[1].training) == (True, True, False)


def test_threads_are_put_back_after_an_error():
    before = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError), on_threads(before + 1):
        assert torch.get_num_threads() == before + 1
        raise ZeroDivisionError
    assert torch.get_num_threads() == before


def test_an_example_lies_where_the_model_lies():
    model = nn.Linear(3, 2, device="meta")
    x = example(model, (3,), batch=5)
    assert x.device.type == "meta"
    assert x.shape == (5, 3)
    assert device_of(nn.ReLU()).type == "cpu"
