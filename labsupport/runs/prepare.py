"""From what a user asks for to a run that can start: everything is checked here."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from labsupport.core.errors import LabError
from labsupport.runs.catalog import Catalog, read_catalog, select
from labsupport.runs.parameters import Parameter, parameters_of
from labsupport.runs.profiles import Values, all_parameters, load_profile, read_assignments
from labsupport.runs.record import (
    LabRecord,
    RunRecord,
    find_run,
    locked,
    new_folder,
    now,
    read_record,
    write_record,
)

PROFILE = "quick"


@dataclass(frozen=True)
class Request:
    """What `labs run` was asked for; None and empty mean not given.

    `data_dir` is absolute; `timeout` is in seconds per cell.
    """

    runs: Path
    notebooks: Path
    profile: str | None = None
    only: Sequence[str] = ()
    first: str | None = None
    last: str | None = None
    assignments: Sequence[str] = ()
    data_dir: Path | None = None
    name: str | None = None
    jobs: int = 1
    scheduler: str | None = None
    timeout: int | None = None


@dataclass(frozen=True)
class Prepared:
    """A run that can start: its folder, its record, the labs there are, and what was asked for.

    `again` says of labs that were done why they run again.
    """

    run: Path
    record: RunRecord
    catalog: Catalog = field(repr=False)
    request: Request
    again: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def open_run(request: Request, resume: bool) -> Iterator[Prepared]:
    """A run to work in, held against other processes.

    Raises LabError for a wrong request, and for a Dask scheduler that does not answer.
    """
    if request.scheduler:
        from labsupport.sweep import connected  # torch comes along: seconds

        with connected(request.scheduler):
            pass
    prepared = None if resume else new_run(request)
    run = prepared.run if prepared else find_run(request.runs, request.name)
    with locked(run):
        yield prepared or resumed_run(run, request)


def new_run(request: Request) -> Prepared:
    """A new run. Raises LabError for anything wrong in the request, before the folder is made."""
    catalog = read_catalog(request.notebooks)
    parameters = all_parameters(catalog)
    profile = load_profile(request.profile or PROFILE, request.notebooks / "profiles", parameters)
    chosen = select(list(catalog), request.only, request.first, request.last)
    own = {name: parameters[name] for name in chosen}
    overrides = read_assignments(request.assignments, own)
    labs = {}
    for name in chosen:
        lab, values = catalog[name], profile.values(name, own[name]) | overrides.get(name, {})
        values = relative_data(values, request.runs, request.data_dir)
        labs[name] = LabRecord(title=lab.title, needs=list(lab.needs), parameters=values)
    run = new_folder(request.runs, request.name)
    record = RunRecord(
        name=run.name, profile=profile.name, started=now(), labs=labs, data_dir=request.data_dir
    )
    write_record(run, record)  # at once, so that a run stopped from here on can be resumed
    return Prepared(run, record, catalog, request)


def resumed_run(run: Path, request: Request) -> Prepared:
    """The run in the folder `run`; what is not done, or no longer as it was, is pending again.

    Raises LabError for a request that chooses labs or parameters, and for labs that are gone or
    have other parameters than the run has values for.
    """
    if request.profile or request.only or request.first or request.last or request.assignments:
        remedy = "leave out --profile, --only, --from, --to, -p and --data, or start a new run"
        raise LabError("a resumed run keeps its labs and parameters", remedy)
    catalog, record = read_catalog(request.notebooks), read_record(run)
    if unknown := [name for name in record.labs if name not in catalog]:
        raise LabError(f"the run {record.name} has labs that are gone: {', '.join(unknown)}")
    record.data_dir = request.data_dir or record.data_dir
    again = {}
    for name, lab in record.labs.items():
        _check_values(name, parameters_of(catalog[name].path), lab.parameters)
        waits = ", ".join(need for need in lab.needs if need in again)
        path = catalog[name].path
        reason = f"it needs {waits}" if waits else _outdated(run, path, lab, record.data_dir)
        if lab.status == "done" and reason:
            again[name] = reason
        if lab.status != "done" or name in again:
            record.labs[name] = lab.pending()
    return Prepared(run, record, catalog, request, again)


def _check_values(lab: str, parameters: Mapping[str, Parameter], values: Values) -> None:
    """Refuse recorded values that are not those of a lab's parameters, each of its type."""
    try:
        if differing := parameters.keys() ^ values.keys():
            raise LabError(", ".join(sorted(differing)))
        for name, value in values.items():
            parameters[name].check(value)
    except LabError as error:
        problem = f"{lab} has other parameters by now: {error.problem}"
        raise LabError(problem, "start a new run instead of resuming this one") from None


def _outdated(run: Path, notebook: Path, lab: LabRecord, data_dir: Path | None) -> str:
    """Why a lab that is done must run again, in words; nothing if it need not."""
    if not (run / "notebooks" / notebook.name).is_file():
        return "its executed notebook is gone"
    ran, data = lab.conditions, data_files(lab.parameters, run, data_dir)
    changes = ran.changes(notebook, data) if ran else ["in what is not on record"]
    return f"changed since it ran: {', '.join(changes)}" if changes else ""


def data_files(values: Values, run: Path, data_dir: Path | None) -> dict[str, str]:
    """What the files of a lab's data set are and where, by its name; nothing if none are there.

    A path in `values` is seen from the run's folder, as `relative_data` gives it.
    """
    from labsupport.data.sources import state  # torch comes along: seconds

    name = str(values.get("data", ""))
    kind, colon, path = name.partition(":")
    found = state(f"{kind}:{run.resolve() / path}" if colon else name, data_dir)
    return {name: found} if found else {}


def relative_data(values: Values, runs: Path, data_dir: Path | None) -> Values:
    """A lab's values with the path in `data` as it is seen from the folder of a run in `runs`.

    Labs run there, and an absolute path would put its user's name into the notebooks.
    Raises LabError for a csv:PATH or folder:PATH that is not there.
    """
    name = str(values.get("data", ""))
    if ":" not in name:
        return values
    from labsupport.data.sources import absolute_name, data_folder  # torch comes along: seconds

    kind, _, path = absolute_name(name, data_folder(data_dir)).partition(":")
    return {**values, "data": f"{kind}:{os.path.relpath(path, runs.resolve() / 'run')}"}
