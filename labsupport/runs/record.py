"""run.json: what a run was told, on what machine, and how each lab fared.

It is rewritten whole after every change, so that at any moment the run can be resumed from it:

    name, profile, started    the run, its profile, when it began (ISO 8601, local time)
    jobs                      labs at once; clocked columns suffer when there is more than one
    overrides                 what -p and --data changed, by lab and parameter
    data_dir                  the folder of data sets, if one was given
    scheduler                 the Dask scheduler whose workers trained, if one was given
    versions                  of Python and the main packages
    machine                   rows of group, item, value
    labs                      by name, in order: title, needs, parameters (all of them, resolved),
                              status, started, seconds, peak_memory_bytes, and for a failed lab
                              `cell` (the number in its brackets) and `error` (one line)
"""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import filelock

from labsupport.core.errors import LabError
from labsupport.core.files import explained, write_text
from labsupport.runs.parameters import Value

Status = Literal["pending", "running", "done", "failed", "skipped"]

FILE = "run.json"
INTERACTIVE = "interactive"  # where notebooks run by hand write
PACKAGES = (
    *("torch", "torchvision", "numpy", "pandas", "matplotlib", "scikit-learn", "mlxtend"),
    *("thop", "papermill", "nbclient", "ipykernel", "distributed"),
    "efficient-networks-labs",
)


@dataclass
class LabRecord:
    """How one lab fared: seconds on the clock, peak memory of its kernel in bytes."""

    title: str = ""
    needs: list[str] = field(default_factory=list)
    parameters: dict[str, Value] = field(default_factory=dict)
    status: Status = "pending"
    started: str = ""
    seconds: float | None = None
    peak_memory_bytes: int | None = None
    cell: int | None = None
    error: str = ""

    def reset(self) -> None:
        """Back to a lab that has not run."""
        blank = LabRecord(self.title, self.needs, self.parameters)
        self.__dict__.update(blank.__dict__)


@dataclass
class RunRecord:
    """The content of run.json."""

    name: str
    profile: str
    started: str
    labs: dict[str, LabRecord]
    jobs: int = 1
    overrides: dict[str, dict[str, Value]] = field(default_factory=dict)
    data_dir: str | None = None
    scheduler: str | None = None
    versions: dict[str, str] = field(default_factory=dict)
    machine: list[dict[str, str]] = field(default_factory=list)

    @property
    def failed(self) -> list[str]:
        """Labs that failed, or were skipped because another failed."""
        return [name for name, lab in self.labs.items() if lab.status in ("failed", "skipped")]

    @property
    def finished(self) -> bool:
        """Whether every lab is done."""
        return all(lab.status == "done" for lab in self.labs.values())


def now() -> str:
    """This moment, to the second."""
    return datetime.now().isoformat(timespec="seconds")


def read_record(run: Path) -> RunRecord:
    """The record of the run in the folder `run`. Raises LabError when there is none to read."""
    try:
        facts = json.loads((run / FILE).read_text(encoding="utf-8"))
        labs = {name: LabRecord(**lab) for name, lab in facts.pop("labs").items()}
        return RunRecord(**facts, labs=labs)
    except FileNotFoundError:
        raise LabError(f"{run} holds no run", "see `labs run --help`, or choose another") from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise LabError(
            f"{run / FILE} cannot be read: {error}", "start a run under a new name"
        ) from error


def write_record(run: Path, record: RunRecord) -> None:
    """Write run.json, whole or not at all."""
    write_text(run / FILE, json.dumps(asdict(record), indent=1, ensure_ascii=False) + "\n")


def new_folder(runs: Path, name: str | None) -> Path:
    """Make the folder of a new run; its default name is the time.

    Raises LabError for a name that is taken, reserved, or no plain word.
    """
    name = name or datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    if not re.fullmatch(r"\w[\w.-]*", name) or name == INTERACTIVE:
        raise LabError(
            f"{name!r} cannot name a run", "use letters, digits, dots, dashes and underscores"
        )
    run = runs / name
    if run.exists():
        raise LabError(
            f"the run {name} exists", f"continue it with --resume --name {name}, or choose another"
        )
    with explained(run):
        run.mkdir(parents=True)
    return run


def find_run(runs: Path, name: str | None) -> Path:
    """The folder of the run called `name`, or of the latest one that can be read.

    Raises LabError if there is none.
    """
    if name:
        read_record(runs / name)
        return runs / name
    found = sorted(path.parent for path in runs.glob(f"*/{FILE}"))
    begun = [(started, run.name) for run in found if (started := _started(run))]
    if not begun:
        problem = "none of the runs can be read" if found else "there is no run"
        raise LabError(f"{problem} in {runs}", "start one with `labs run`")
    return runs / max(begun)[1]


def _started(run: Path) -> str:
    """When a run began; empty if its record is damaged."""
    try:
        return read_record(run).started
    except LabError:
        return ""


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Hold a run, so that no other process works in it; the lock dies with this process."""
    lock = filelock.FileLock(run / ".lock")
    with explained(run):
        try:
            lock.acquire(blocking=False)
        except filelock.Timeout:
            raise LabError(
                f"the run {run.name} is being worked on by another process",
                "wait until it ends, or stop it",
            ) from None
    try:
        yield
    finally:
        lock.release()


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that matter to the results."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def machine() -> list[dict[str, str]]:
    """The machine report as rows of group, item and value."""
    from labsupport.measure.machine import machine_report  # torch comes along: seconds

    rows = machine_report().to_dict(orient="records")
    return [{str(key): str(value) for key, value in row.items()} for row in rows]
