"""run.json: what a run was asked to do, what each lab ran with, and how it ended.

It is rewritten whole after every change, so that the run can be resumed from it at any moment.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Literal

import filelock
from pydantic import BaseModel, ValidationError

from labsupport.core.errors import LabError
from labsupport.core.files import explained, write_text
from labsupport.core.validation import explain
from labsupport.runs.conditions import Conditions

Value = bool | int | float | str
Status = Literal["pending", "running", "done", "failed", "skipped"]

FILE = "run.json"
INTERACTIVE = "interactive"  # where notebooks run by hand write


class LabRecord(BaseModel, extra="forbid"):
    """One lab of a run: what it runs with, and how that ended.

    `parameters` are all of them, resolved; `started` is ISO 8601, local time; `conditions` are
    those of its last start. `cell` (the number in its brackets) and `error` (one line) are those of
    a failed lab; `peak_memory_bytes` is its kernel's.
    """

    title: str = ""
    needs: list[str] = []
    parameters: dict[str, Value] = {}
    status: Status = "pending"
    started: str = ""
    seconds: float | None = None
    peak_memory_bytes: int | None = None
    cell: int | None = None
    error: str = ""
    conditions: Conditions | None = None

    def pending(self) -> LabRecord:
        """The same lab as one that has not run."""
        return LabRecord(title=self.title, needs=self.needs, parameters=self.parameters)


class RunRecord(BaseModel, extra="forbid"):
    """The content of run.json: labs by name, in order; `data_dir` is absolute."""

    name: str
    profile: str
    started: str
    labs: dict[str, LabRecord]
    data_dir: Path | None = None

    @property
    def failed(self) -> list[str]:
        """Labs that failed, or were skipped because another failed."""
        return [name for name, lab in self.labs.items() if lab.status in ("failed", "skipped")]

    @property
    def conditions(self) -> dict[str, Conditions]:
        """What each lab ran with that has been started."""
        return {name: lab.conditions for name, lab in self.labs.items() if lab.conditions}


def now() -> str:
    """This moment, to the second."""
    return datetime.now().isoformat(timespec="seconds")


def read_record(run: Path) -> RunRecord:
    """The record of the run in the folder `run`. Raises LabError when there is none to read."""
    try:
        return RunRecord.model_validate_json((run / FILE).read_bytes())
    except FileNotFoundError:
        raise LabError(f"{run} holds no run", "see `labs run --help`, or choose another") from None
    except (OSError, ValidationError) as error:
        problem = f"{run / FILE} cannot be read: {explain(error)}"
        raise LabError(problem, "start a run under a new name") from error


def write_record(run: Path, record: RunRecord) -> None:
    """Write run.json, whole or not at all."""
    write_text(run / FILE, record.model_dump_json(indent=1) + "\n")


def new_folder(runs: Path, name: str | None) -> Path:
    """Make the folder of a new run; its default name is the time.

    Raises LabError for a name that is taken, reserved, or not a plain word.
    """
    name = name or datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    if not re.fullmatch(r"\w[\w.-]*", name) or name == INTERACTIVE:
        remedy = "use letters, digits, dots, dashes and underscores"
        raise LabError(f"{name!r} cannot name a run", remedy)
    run = runs / name
    if run.exists():
        remedy = f"continue it with --resume --name {name}, or choose another"
        raise LabError(f"the run {name} exists", remedy)
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
    begun = {}
    for path in runs.glob(f"*/{FILE}"):
        with suppress(LabError):  # a damaged run does not hide the others
            begun[path.parent] = read_record(path.parent).started
    if not begun:
        raise LabError(f"there is no run that can be read in {runs}", "start one with `labs run`")
    return max(begun, key=lambda run: begun[run])


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Hold a run, so that no other process works in it; the lock dies with this process."""
    try:
        with explained(run), filelock.FileLock(run / ".lock", blocking=False):
            yield
    except filelock.Timeout:
        problem = f"another process is working on the run {run.name}"
        raise LabError(problem, "wait until it ends, or stop it") from None
