from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pandas as pd
import pytest
import torch

from labsupport.core.errors import LabError
from labsupport.models import ModelSpec
from labsupport.network.modes import on_threads
from labsupport.training import (
    CrossEntropy,
    Cyclic,
    Job,
    Making,
    Recipe,
    fit,
    fit_jobs,
    fit_seeds,
    mean_and_spread,
    over_seeds,
    snapshots,
)

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


@pytest.mark.parametrize("workers", [0, 2])
def test_jobs_train_as_fit_does_one_by_one(tmp_path, splits, workers):
    smoothed = CrossEntropy(0.1)
    jobs = {
        ("narrow", 0): Job(SPEC.build(), splits, RECIPE, 0),
        ("wide", 5): Job(replace(SPEC, knobs={"width": 8}).build(), splits, RECIPE, 5, smoothed),
    }
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(2) as pool:
        found = fit_jobs(jobs, tmp_path, executor=pool if workers else None)
    assert torch.get_num_threads() == threads
    assert list(found) == list(jobs)
    for name, job in jobs.items():
        with on_threads(1):
            alone = fit(job.network, splits, RECIPE, job.seed, objective=job.objective)
        assert found[name].seed == job.seed
        torch.testing.assert_close(
            found[name].model.state_dict(), alone.model.state_dict(), atol=0, rtol=0
        )


@pytest.mark.parametrize("workers", [0, 2])
def test_networks_are_derived_beside_trainings(tmp_path, splits, workers):
    network, cyclic = SPEC.build(), replace(RECIPE, schedule=Cyclic(3))
    given = {"splits": splits, "recipe": cyclic, "seed": 1}
    jobs = {"cycles": Making(snapshots, (network,), given)}
    jobs |= {"plain": Job(network, splits, RECIPE, 1)}
    with ThreadPoolExecutor(2) as pool:
        found = fit_jobs(jobs, tmp_path, executor=pool if workers else None)
    with on_threads(1):
        members = snapshots(network, splits, cyclic, 1)
    assert len(found["cycles"].network) == 3
    torch.testing.assert_close(
        found["cycles"].network.state_dict(), members.state_dict(), atol=0, rtol=0
    )
    assert len(list(tmp_path.iterdir())) == 2


def test_seeds_give_a_row_each_with_mean_and_spread(splits, alone):
    table = over_seeds(alone, splits)
    assert table["seed"].tolist() == [0, 1, 2]
    mean, spread = mean_and_spread(table["test_accuracy"])
    assert mean == pytest.approx(sum(table["test_accuracy"]) / 3)
    assert spread >= 0


def test_mean_and_spread_in_closed_form():
    assert mean_and_spread([1.0, 2.0, 3.0]) == (2.0, 1.0)
