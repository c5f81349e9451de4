"""The script that makes a Dask cluster of SLURM's jobs, where there is no SLURM."""

import importlib.util
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from labsupport.sweep import SCHEDULER, Sweep, executors, workers

SCRIPT = Path(__file__).parents[2] / "docs" / "slurm_cluster.py"
# What SLURM's commands do, for the script: start a job in a session of its own, and end it. A job
# is a copy, as SLURM makes one: the script is removed as soon as it is submitted.
SBATCH = (
    '#!/bin/sh\njob=$(mktemp) && cp "$1" "$job"\nsetsid sh "$job" >"$job.log" 2>&1 &\n'
    'echo "Submitted batch job $!"\n'
)
SCANCEL = '#!/bin/sh\nfor job; do kill -TERM -- "-$job"; done\n'


@pytest.fixture(scope="module")
def script():
    pytest.importorskip("dask_jobqueue", reason="dask-jobqueue is not installed")
    spec = importlib.util.spec_from_file_location("slurm_cluster", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def cluster(script):
    with script.slurm_cluster("4GB", "02:00:00", queue="short", account="course") as cluster:
        yield cluster


@pytest.fixture(scope="module")
def job(cluster):
    return cluster.job_script().splitlines()


def test_a_job_asks_for_one_core_and_what_was_given(job):
    asked = {line.removeprefix("#SBATCH ") for line in job if line.startswith("#SBATCH")}
    assert {"--cpus-per-task=1", "-n 1", "--mem=4G", "-t 02:00:00"} <= asked
    assert {"-J labs", "-p short", "-A course"} <= asked


def test_a_job_starts_one_worker_of_one_thread_with_this_python(job, cluster):
    command = shlex.split(job[-1])
    assert command[:3] == [sys.executable, "-m", "distributed.cli.dask_worker"]
    assert command[3] == cluster.scheduler_address
    assert command[command.index("--nthreads") + 1] == "1"
    assert "--nworkers" not in command
    assert "--nanny" in command  # it starts the worker that a trial has killed again


def test_the_settings_reach_the_workers_by_their_environment(job):
    exports = "\n".join(line for line in job if line.startswith("export"))
    told = "import dask, json; print([dask.config.get(key) for key in {}])"
    command = f'{exports}\n{sys.executable} -c "{told.format(list(executors.SETTINGS))}"'
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(list(executors.SETTINGS.values()))


def test_the_guide_tells_the_same_settings(script):
    guide = SCRIPT.with_name("cluster.md").read_text()
    assert [line for line in guide.splitlines() if line.startswith("export")] == script.exports()


def test_the_scheduler_gives_up_a_trial_that_kills_its_worker(cluster):
    assert cluster.scheduler.allowed_failures == 0


def heed_ctrl_c():
    """In a child: stop at Ctrl-C also where these tests run in the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.slow
@pytest.mark.usefixtures("script")
def test_the_script_prints_an_address_where_its_jobs_work(tmp_path, monkeypatch):
    for name, text in (("sbatch", SBATCH), ("scancel", SCANCEL)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))  # workers know this module
    monkeypatch.setenv(executors.WAIT, "120")
    command = [sys.executable, str(SCRIPT), "--jobs", "2", "--interface", "lo"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=tmp_path, preexec_fn=heed_ctrl_c
    ) as running:
        try:
            monkeypatch.setenv(SCHEDULER, running.stdout.readline().strip())
            with workers(0) as executor:
                table = Sweep(tmp_path / "sweep.jsonl").run(
                    divmod_of, [{"number": number} for number in range(8)], executor
                )
        finally:
            running.send_signal(signal.SIGINT)
            assert running.wait(timeout=30) == 0
    assert list(table["quotient"]) == [0, 0, 0, 1, 1, 1, 2, 2]


def divmod_of(number):
    return dict(zip(("quotient", "rest"), divmod(number, 3), strict=True))
