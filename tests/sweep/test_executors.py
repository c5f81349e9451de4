"""Sweeps on workers: processes of this machine, and a Dask cluster on loopback."""

import os
import signal
import subprocess
import sys
from concurrent.futures import Executor
from pathlib import Path
from threading import Lock, Timer

import dask
import pandas as pd
import pytest
import torch
from distributed import LocalCluster

from labsupport.core.errors import LabError
from labsupport.models import ModelSpec
from labsupport.sweep import SCHEDULER, Setup, Sweep, executors, workers
from labsupport.training import Recipe, fit_seeds

RECIPE = Recipe(epochs=1, batch_size=64)
TRIALS = [
    {"seed": seed, "width": width, "depth": 1, "size": size}
    for size, width, seed in ((7, 4, 0), (7, 16, 1), (14, 4, 1), (14, 16, 0))
]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster():
    """A scheduler with two worker processes, as `dask scheduler` and `dask worker` make them."""
    with (
        dask.config.set(executors.SETTINGS),
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            host="127.0.0.1",
            memory_limit=None,
            dashboard_address=":0",
        ) as cluster,
    ):
        yield cluster


@pytest.fixture
def on_cluster(cluster, monkeypatch):
    monkeypatch.setenv(SCHEDULER, cluster.scheduler_address)


def setup_in(folder: Path) -> Setup:
    return Setup("mnist5k", RECIPE, folder / "cache", max_train=512)


def counted(table):
    return table.drop(columns="trial_seconds")


def once(folder: str, number: int) -> dict[str, int]:
    """Kills the worker it runs in, but only the first time that it meets the number 9."""
    mark = Path(folder) / "met"
    if number == 9 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return {"square": number**2}


def test_two_workers_of_a_cluster_give_the_table_of_this_process(tmp_path, on_cluster):
    here = Sweep(tmp_path / "here.jsonl").run(setup_in(tmp_path / "a").trial, TRIALS)
    with workers(0) as executor:
        assert isinstance(executor, Executor)
        there = Sweep(tmp_path / "there.jsonl").run(
            setup_in(tmp_path / "b").trial, TRIALS, executor
        )
    assert (there["error"] == "").all()
    pd.testing.assert_frame_equal(counted(here), counted(there))


def test_seeds_trained_by_workers_are_those_of_this_process(tmp_path, on_cluster):
    splits = setup_in(tmp_path).splits(size=7)
    spec = ModelSpec("mlp", splits.input_shape, 10, {"width": 8})
    here = fit_seeds(spec, splits, RECIPE, range(2), tmp_path / "here")
    with workers(0) as executor:
        there = fit_seeds(spec, splits, RECIPE, range(2), tmp_path / "there", executor=executor)
    for one, other in zip(here, there, strict=True):
        assert one.seed == other.seed
        states = one.model.state_dict(), other.model.state_dict()
        torch.testing.assert_close(*states, atol=0, rtol=0)


def test_what_workers_trained_is_read_back_here(tmp_path, on_cluster):
    setup = setup_in(tmp_path)
    with workers(2) as executor:
        table = Sweep(tmp_path / "sweep.jsonl").run(setup.trial, TRIALS[:2], executor)
    stored = sorted(setup.cache.iterdir())
    assert len(stored) == 2
    again = [setup.trial(**trial) for trial in TRIALS[:2]]
    assert [figures["accuracy"] for figures in again] == list(table["accuracy"])
    assert sorted(setup.cache.iterdir()) == stored


def test_a_killed_worker_costs_no_finished_trial(tmp_path, on_cluster):
    sweep = Sweep(tmp_path / "sweep.jsonl")
    trials = [{"folder": str(tmp_path), "number": number} for number in range(16)]
    with workers(2) as executor:
        table = sweep.run(once, trials, executor)
    lost = table["error"] != ""
    assert list(table["number"][lost]) == [9]
    assert "KilledWorker" in table["error"][9]
    assert len(table) == 16
    ended = sweep.path.read_text().splitlines()
    with workers(2) as executor:
        again = sweep.run(once, trials, executor)
    assert list(again["square"]) == [number**2 for number in range(16)]
    assert len(sweep.path.read_text().splitlines()) == len(ended) + lost.sum()


def test_processes_of_this_machine_give_the_same_table_and_are_gone_afterwards(
    tmp_path, monkeypatch
):
    for name in executors.MEMORY:  # Dask leaves those of an earlier cluster in this process
        monkeypatch.delenv(name, raising=False)
    here = Sweep(tmp_path / "here.jsonl").run(setup_in(tmp_path / "a").trial, TRIALS[:2])
    with workers(1) as executor:
        processes = executor.submit(os.getpid).result()
        environment = executor.submit(os.environ.copy).result()
        there = Sweep(tmp_path / "there.jsonl").run(
            setup_in(tmp_path / "b").trial, TRIALS[:2], executor
        )
    pd.testing.assert_frame_equal(counted(here), counted(there))
    kept = {name: environment[name] for name in executors.MEMORY}
    assert kept == {name: str(value) for name, value in executors.MEMORY.items()}, "freed memory"
    assert processes != os.getpid()
    with pytest.raises(ProcessLookupError):
        os.kill(processes, 0)


def test_a_function_that_cannot_be_sent_is_told(tmp_path, on_cluster):
    lock = Lock()
    with workers(2) as executor, pytest.raises(LabError, match="cannot be sent to the workers"):
        Sweep(tmp_path / "sweep.jsonl").run(
            lambda number: {"lock": lock}, [{"number": 1}], executor
        )


def test_no_workers_mean_this_process():
    with workers(0) as executor:
        assert executor is None


def test_fewer_than_no_workers_are_refused():
    with pytest.raises(LabError, match="0 or more"), workers(-1):
        pass


def test_a_scheduler_that_does_not_answer_is_told(monkeypatch):
    monkeypatch.setattr(executors, "SECONDS", 0.5)
    monkeypatch.setenv(SCHEDULER, "tcp://127.0.0.1:9")
    refused = pytest.raises(LabError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9")
    with refused, workers(2):
        pass


@pytest.fixture
def without_workers(monkeypatch):
    """The address of a scheduler that nobody works for yet, and the cluster it belongs to."""
    monkeypatch.setattr(executors, "NOTICE", 0.2)
    with LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address=":0") as cluster:
        monkeypatch.setenv(SCHEDULER, cluster.scheduler_address)
        yield cluster


def test_waiting_for_workers_is_announced_and_ends(without_workers, monkeypatch, capsys):
    monkeypatch.setenv(executors.WAIT, "0.5")
    address = without_workers.scheduler_address
    refused = pytest.raises(LabError, match=f"{address} had no workers for 0.5 s.*dask worker tcp")
    with refused, workers(0):
        pass
    notices = capsys.readouterr().err.splitlines()
    assert len(notices) >= 2
    assert all(address in notice and "no workers yet" in notice for notice in notices)


def test_a_worker_that_comes_late_is_waited_for(without_workers):
    Timer(0.5, without_workers.scale, [1]).start()
    with workers(0) as executor:
        assert executor.submit(divmod, 7, 2).result() == (3, 1)


def test_a_wait_that_is_no_number_is_refused(without_workers, monkeypatch):
    monkeypatch.setenv(executors.WAIT, "long")
    with pytest.raises(LabError, match=f"{executors.WAIT} is not a number of seconds"), workers(0):
        pass


def test_a_script_that_starts_itself_again_is_told_why(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from labsupport.core.errors import LabError\n"
        "from labsupport.sweep import workers\n"
        "try:\n"
        "    with workers(1):\n"
        "        pass\n"
        "except LabError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, check=False, timeout=120
    )
    assert "could not be started" in done.stdout
    assert '__name__ == "__main__"' in done.stdout
