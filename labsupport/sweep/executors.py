"""Processes for the trials of a sweep: some on this machine, or those of a Dask cluster."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import TYPE_CHECKING

from labsupport.core.errors import LabError

if TYPE_CHECKING:
    from distributed import Client

SCHEDULER = "LABS_SCHEDULER"  # address of a Dask scheduler; `labs run --scheduler` sets it
SECONDS = 10  # to wait for a scheduler's answer
WAIT = "LABS_WORKER_WAIT"  # seconds to wait for a cluster's first worker; an hour by default
NOTICE = 5.0  # seconds between two notices while waiting
SETTINGS = {
    # A trial that kills its worker is given up: tried again, it would take others along.
    "distributed.scheduler.allowed-failures": 0,
    # By default the next trial waits on the worker too, and is lost with it.
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.worker.daemon": False,  # a trial may start processes of its own
}
# For the workers' environment. Dask has them give freed memory back to the system at once, so that
# each tensor of a training step is new memory: up to three times the processor time.
MEMORY = {"MALLOC_TRIM_THRESHOLD_": 2**30, "MALLOC_MMAP_THRESHOLD_": 2**25}  # the most allowed


@contextmanager
def workers(count: int) -> Iterator[Executor | None]:
    """Where the trials of a sweep run, as an executor; what it started here ends with the block.

    The Dask cluster whose scheduler the environment's LABS_SCHEDULER names, else `count` processes
    on this machine; with a `count` of 0 None, for this process itself.
    Raises LabError for a negative count, a scheduler that does not answer, or one without a worker
    for longer than LABS_WORKER_WAIT.
    """
    address = os.environ.get(SCHEDULER)
    if count < 0:
        raise LabError(f"{count} workers", "give 0 or more")
    if not address and count == 0:
        yield None
        return
    with connected(address) if address else _local(count) as client:
        if address:
            _await_worker(client, address)
        yield client.get_executor()


@contextmanager
def connected(address: str) -> Iterator[Client]:
    """A client of the scheduler at `address`. Raises LabError if none answers there."""
    from distributed import Client  # here, because it takes a second

    try:
        client = Client(address, timeout=SECONDS)
    except (OSError, ValueError, TypeError) as error:
        raise LabError(
            f"no Dask scheduler answers at {address} ({type(error).__name__}: {error})",
            "start one with `dask scheduler`, and give the address it prints",
        ) from error
    with client:
        yield client


def _await_worker(client: Client, address: str) -> None:
    """Wait for a cluster's first worker, and say so. Raises LabError when none comes in time."""
    limit = _wait_limit()
    deadline = time.monotonic() + limit
    while (left := deadline - time.monotonic()) > 0:
        try:
            client.wait_for_workers(1, timeout=min(NOTICE, left))
            return
        except TimeoutError:
            message = f"the Dask scheduler at {address} has no workers yet: waiting for the first"
            print(message, file=sys.stderr, flush=True)
    raise LabError(
        f"the Dask scheduler at {address} had no workers for {limit:g} seconds",
        f"start some with `dask worker {address}`, or allow more seconds with {WAIT}",
    )


def _wait_limit() -> float:
    """How long to wait for a worker, in seconds. Raises LabError for what is not a number."""
    try:
        return float(os.environ.get(WAIT, "3600"))
    except ValueError as error:
        raise LabError(f"{WAIT} is not a number of seconds: {error}", "correct it") from None


@contextmanager
def _local(count: int) -> Iterator[Client]:
    import dask
    from distributed import Client, LocalCluster

    memory = {f"distributed.nanny.pre-spawn-environ.{name}": MEMORY[name] for name in MEMORY}
    with dask.config.set(SETTINGS | memory):
        try:
            cluster = LocalCluster(
                n_workers=count,
                threads_per_worker=1,
                memory_limit=None,
                dashboard_address=":0",
                silence_logs=logging.CRITICAL,
            )
        except RuntimeError as error:
            raise LabError(
                f"{count} worker processes could not be started: {error}",
                'in a script, what starts them belongs under `if __name__ == "__main__":`',
            ) from error
        with cluster, Client(cluster) as client:
            yield client
