"""Workers for the sweeps of the labs, as jobs of SLURM.

    python docs/slurm_cluster.py --jobs 20 --memory 4GB --walltime 02:00:00 --queue NAME

Run it on a machine that the compute nodes reach, in the environment of the labs, and leave it
running. It prints the address for `labs run --scheduler`; Ctrl-C ends the jobs.
"""

from __future__ import annotations

import argparse
from contextlib import suppress
from threading import Event

import dask
from dask_jobqueue import SLURMCluster

from labsupport.sweep.executors import MEMORY, SETTINGS


def slurm_cluster(
    memory: str,
    walltime: str,
    queue: str | None = None,
    account: str | None = None,
    interface: str | None = None,
) -> SLURMCluster:
    """A scheduler in this process and, once scaled, a worker with one thread in each job."""
    with dask.config.set(SETTINGS):  # the scheduler reads its settings here
        return SLURMCluster(
            cores=1,
            processes=1,
            memory=memory,
            walltime=walltime,
            queue=queue,
            account=account,
            interface=interface,
            job_name="labs",
            job_script_prologue=exports(),  # the workers read theirs in their jobs
            scheduler_options={"dashboard_address": ":0"},
        )


def exports() -> list[str]:
    """The settings as lines of a shell script, by the names that Dask reads."""
    names = {key: key.upper().replace(".", "__").replace("-", "_") for key in SETTINGS}
    settings = {f"DASK_{name}": SETTINGS[key] for key, name in names.items()}
    return [f"export {name}={value}" for name, value in (settings | MEMORY).items()]


def main() -> None:
    """Read the command line, ask for the jobs, and wait."""
    parser = argparse.ArgumentParser(description="Workers of the labs as jobs of SLURM.")
    parser.add_argument("--jobs", type=int, default=4, help="jobs, each a worker of one thread")
    parser.add_argument("--memory", default="4GB", help="of each job")
    parser.add_argument("--walltime", default="01:00:00", help="of each job")
    parser.add_argument("--queue", help="partition")
    parser.add_argument("--account")
    parser.add_argument("--interface", help="network that all nodes are on, such as ib0")
    given = vars(parser.parse_args())
    jobs = given.pop("jobs")
    with slurm_cluster(**given) as cluster, suppress(KeyboardInterrupt):
        cluster.scale(jobs=jobs)
        print(cluster.scheduler_address, flush=True)
        Event().wait()


if __name__ == "__main__":
    main()
