import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from torch import nn

from labsupport.core.errors import LabError
from labsupport.data import Split, Splits
from labsupport.methods import pruning
from labsupport.methods.distillation import ConsistentTeacher
from labsupport.models import ModelSpec
from labsupport.network.calls import device_of
from labsupport.network.modes import on_threads
from labsupport.training import (
    CrossEntropy,
    Cyclic,
    Derivation,
    Job,
    Recipe,
    cache,
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


def weights_of_the_first_in_the_second(first, second, splits):
    """Not what it gives of them the other way around."""
    mixed = copy.deepcopy(second)
    mixed.load_state_dict(first.state_dict())
    return nn.ModuleList([mixed, second])


def test_several_networks_reach_workers_in_their_order(tmp_path, splits):
    networks = SPEC.build(), SPEC.build()
    given = [network[1].weight.detach().clone() for network in networks]
    jobs = {"mixed": Derivation(weights_of_the_first_in_the_second, networks, splits)}
    with Pickling(1) as pool:
        found = fit_jobs(jobs, tmp_path, executor=pool)["mixed"].network
    assert len(list(tmp_path.iterdir())) == 1
    assert not torch.equal(*given)
    assert all(torch.equal(n[1].weight, w) for n, w in zip(found, given, strict=True))


@pytest.mark.parametrize("frozen", [False, True])
def test_a_frozen_norm_stays_frozen_at_a_worker(tmp_path, splits, frozen):
    network = SPEC.build().train()
    norm = next(name for name, m in network.named_modules() if isinstance(m, nn.BatchNorm1d))
    network.get_submodule(norm).train(not frozen)
    with Pickling(1) as pool:
        job = Job(network, splits, RECIPE, 0)
        found = fit_jobs({"frozen": job}, tmp_path, executor=pool)["frozen"].model
    assert len(list(tmp_path.iterdir())) == 1  # trained once
    with on_threads(1):
        alone = fit(network, splits, RECIPE, 0).model
    torch.testing.assert_close(found.state_dict(), alone.state_dict(), atol=0, rtol=0)
    assert bool(found.get_submodule(norm).running_mean.eq(0).all()) == frozen


@pytest.mark.parametrize(
    "given",
    [
        {"objective": ConsistentTeacher(pruning.magnitude(SPEC.build(), 0.5))},
        {"score": lambda model, part: 0.0},
    ],
    ids=["masked teacher", "lambda"],
)
def test_what_cannot_be_pickled_is_refused_before_anything_is_trained(tmp_path, splits, given):
    jobs = {seed: Job(SPEC.build(), splits, RECIPE, seed) for seed in range(2)}
    jobs["unsendable"] = replace(jobs[0], **given)
    with Pickling(1) as pool, pytest.raises(LabError, match="a Job cannot be sent to a worker"):
        fit_jobs(jobs, tmp_path, executor=pool)
    assert not list(tmp_path.iterdir())


def layer_beside(first, second, splits):
    """A new layer. The networks are asked where the images lie."""
    for network in (first, second):
        network(torch.zeros(1, 4, device=splits.device))
    return nn.Linear(4, 2)


def test_a_derived_network_and_its_key_follow_the_device_of_the_images(
    tmp_path, splits, monkeypatch
):
    """The device without values stands for a GPU, and one fingerprint for that of no values."""
    networks = nn.Linear(4, 2), nn.Linear(4, 3)
    work = Derivation(layer_beside, networks, splits)
    monkeypatch.setattr(cache, "fingerprint", lambda network: "equal")
    for device in ("cpu", "meta"):
        monkeypatch.setattr(Splits, "device", torch.device(device))
        assert device_of(work.run(tmp_path).network).type == device
    assert len(list(tmp_path.iterdir())) == 2
    assert [device_of(network).type for network in networks] == ["cpu", "cpu"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"networks": SPEC.build()}, "from a Sequential in place of networks"),
        ({"networks": ()}, "give a tuple of at least one"),
        ({"arguments": {"splits": 1}}, "splits of its own"),
        ({"arguments": {"seed": 1, "make": 2, "folder": 3}}, "folder and make of its own"),
    ],
)
def test_a_derivation_that_could_not_be_made_is_refused(splits, given, said):
    with pytest.raises(LabError, match=said):
        Derivation(**{"make": snapshots, "networks": (SPEC.build(),), "splits": splits} | given)
