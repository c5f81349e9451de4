from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pytest
import torch

from labsupport.core.errors import LabError
from labsupport.models import ModelSpec
from labsupport.training import Recipe, fit_seeds, mean_and_spread, over_seeds

SPEC = ModelSpec("mlp", (1, 2, 2), 2, {"depth": 1, "width": 4, "norm": "batch"})
RECIPE = Recipe(epochs=3, batch_size=32)


@pytest.fixture(scope="module")
def alone(tmp_path_factory, splits):
    return fit_seeds(SPEC, splits, RECIPE, range(3), tmp_path_factory.mktemp("alone"))


def test_threads_train_the_same_networks(tmp_path, splits, alone):
    """Processes do, too: see the tests of the sweep's executors, whose workers are there anyway."""
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(2) as workers:
        spread = fit_seeds(SPEC, splits, RECIPE, range(3), tmp_path, executor=workers)
    assert torch.get_num_threads() == threads
    assert len(list(tmp_path.iterdir())) == 3
    for one, other in zip(alone, spread, strict=True):
        torch.testing.assert_close(one.model.state_dict(), other.model.state_dict(), atol=0, rtol=0)
        pd.testing.assert_frame_equal(
            one.history.drop(columns="epoch_seconds"), other.history.drop(columns="epoch_seconds")
        )
        assert (one.seed, one.best_epoch) == (other.seed, other.best_epoch)


def test_a_workers_error_is_ours(tmp_path, splits):
    wrong = ModelSpec("mlp", (1, 2, 2), 2, {"norm": "no such norm"})
    with ThreadPoolExecutor(1) as executor, pytest.raises(LabError):
        fit_seeds(wrong, splits, RECIPE, [0], tmp_path, executor=executor)


def test_seeds_give_a_row_each_with_mean_and_spread(splits, alone):
    table = over_seeds(alone, splits)
    assert table["seed"].tolist() == [0, 1, 2]
    mean, spread = mean_and_spread(table["test_accuracy"])
    assert mean == pytest.approx(sum(table["test_accuracy"]) / 3)
    assert spread >= 0


def test_mean_and_spread_in_closed_form():
    assert mean_and_spread([1.0, 2.0, 3.0]) == (2.0, 1.0)
