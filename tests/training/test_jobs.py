import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch

from labsupport.data import Split
from labsupport.methods import pruning
from labsupport.models import ModelSpec
from labsupport.network.modes import on_threads
from labsupport.training import (
    CrossEntropy,
    Cyclic,
    Derivation,
    Job,
    Recipe,
    fit,
    fit_jobs,
    snapshots,
)

SPEC = ModelSpec("mlp", (1, 2, 2), 2, {"depth": 1, "width": 4, "norm": "batch"})
RECIPE = Recipe(epochs=3, batch_size=32)


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


class Pickling(ThreadPoolExecutor):
    """Sends each task through a pickle, as workers in other processes get it."""

    largest = 0

    def submit(self, task, *arguments):
        sent = pickle.dumps((task, *arguments))
        self.largest = max(self.largest, len(sent))
        return super().submit(*pickle.loads(sent))


def test_masked_networks_reach_workers(tmp_path, splits):
    masked = pruning.magnitude(SPEC.build(), 0.5)
    jobs = {"masked": Job(masked, splits, RECIPE, 0)}
    with Pickling(1) as pool:
        found = fit_jobs(jobs, tmp_path, executor=pool)["masked"]
    assert [path.suffix for path in tmp_path.iterdir()] == [".safetensors"]  # trained once
    assert pruning.sparsity(found.model) == pytest.approx(pruning.sparsity(masked))
    with on_threads(1):
        alone = fit(masked, splits, RECIPE, 0)
    torch.testing.assert_close(found.model.state_dict(), alone.model.state_dict(), atol=0, rtol=0)


def test_images_reach_workers_in_a_file_with_what_stands_beside_them(tmp_path, splits):
    marks = {"x": torch.rand(len(splits.train), 1000)}  # a name that images have, too
    marked = replace(splits, train=Split(splits.train.x, splits.train.y, marks))
    jobs = {seed: Job(SPEC.build(), marked, RECIPE, seed) for seed in range(2)}
    with Pickling(1) as pool:
        found = fit_jobs(jobs, tmp_path, executor=pool)
    assert pool.largest < marks["x"].nbytes / 10
    assert len(list(tmp_path.iterdir())) == 2  # the keys of workers are those of this process
    for seed, job in jobs.items():
        with on_threads(1):
            alone = fit(job.network, marked, RECIPE, seed).model.state_dict()
        torch.testing.assert_close(found[seed].model.state_dict(), alone, atol=0, rtol=0)


@pytest.mark.parametrize("workers", [0, 1])
def test_networks_are_derived_beside_trainings(tmp_path, splits, workers):
    network, cyclic = SPEC.build(), replace(RECIPE, schedule=Cyclic(3))
    jobs = {
        "cycles": Derivation(snapshots, (network,), splits, {"recipe": cyclic, "seed": 1}),
        "plain": Job(network, splits, RECIPE, 1),
    }
    with Pickling(1) as pool:
        found = fit_jobs(jobs, tmp_path, executor=pool if workers else None)
    assert len(list(tmp_path.iterdir())) == 2  # the keys of workers are those of this process
    with on_threads(1):
        members = snapshots(network, splits, cyclic, 1)
    assert len(found["cycles"].network) == 3
    torch.testing.assert_close(
        found["cycles"].network.state_dict(), members.state_dict(), atol=0, rtol=0
    )
