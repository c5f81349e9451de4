"""Steps of either kind are a group of their own, whoever trains."""

import pytest
import torch
from made_methods import BRIEF, METHODS, toy_splits
from made_rules import toy_network

from labsupport.network.modes import on_threads
from labsupport.training import Job, StepGroups, fit, fit_jobs


@pytest.mark.parametrize("method", ["quantize", "with_steps"])
def test_steps_learn_at_their_own_rate_without_decay(method):
    network = METHODS[method](toy_network())
    others, learned = StepGroups(0.02)(network)
    assert len(learned["params"]) == 6
    assert (learned["lr"], learned["weight_decay"]) == (0.02, 0.0)
    together = [id(parameter) for parameter in others["params"] + learned["params"]]
    assert sorted(together) == sorted(map(id, network.parameters()))


def test_a_network_without_steps_has_none():
    network = toy_network()
    others, learned = StepGroups(0.02)(network)
    assert (len(others["params"]), learned["params"]) == (6, [])


@pytest.mark.parametrize("method", ["quantize", "with_steps"])
def test_a_job_trains_steps_as_fit_does(tmp_path, method):
    network, splits, groups = METHODS[method](toy_network()), toy_splits(), StepGroups(0.05)
    jobs = {
        "own": Job(network, splits, BRIEF, 0, groups=groups),
        "same": Job(network, splits, BRIEF, 0),
    }
    found = {name: done.model.state_dict() for name, done in fit_jobs(jobs, tmp_path).items()}
    with on_threads(1):
        alone = fit(network, splits, BRIEF, groups=groups).model.state_dict()
    torch.testing.assert_close(found["own"], alone, atol=0, rtol=0)
    steps = [name for name in alone if name.endswith("log_step")]
    assert all(not torch.equal(found["own"][name], found["same"][name]) for name in steps)
