"""From what a user asks for to a run that can start: everything is checked here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from labsupport.core.errors import LabError
from labsupport.runs.catalog import Catalog, read_catalog, select
from labsupport.runs.parameters import check_names, parameters_of
from labsupport.runs.profiles import (
    Values,
    all_parameters,
    load_profile,
    profile_path,
    read_assignments,
    resolve,
)
from labsupport.runs.record import (
    LabRecord,
    RunRecord,
    find_run,
    locked,
    new_folder,
    now,
    read_record,
    versions,
)
from labsupport.runs.requirements import check_devices, check_scheduler, relative_data

PROFILE = "quick"


@dataclass(frozen=True)
class Request:
    """What `labs run` was asked for; None and empty mean not given."""

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

    def select(self, catalog: Catalog) -> list[str]:
        """The labs it asks for."""
        return select(catalog, self.only, self.first, self.last)

    def overrides(self, catalog: Catalog, names: Sequence[str]) -> dict[str, Values]:
        """The parameters it sets itself in the labs called `names`, by lab."""
        labs = {name: catalog[name] for name in names}
        return read_assignments(self.assignments, labs, all_parameters(labs))

    def data_folder(self) -> str | None:
        """The data folder it names, absolute. Raises LabError if it is not there."""
        if self.data_dir is None:
            return None
        if not self.data_dir.is_dir():
            problem = f"--data-dir {self.data_dir} is not a folder"
            raise LabError(problem, "make it, or name another")
        return str(self.data_dir.expanduser().resolve())


@dataclass(frozen=True)
class Prepared:
    """A run that can start: its folder, its record, and the labs there are."""

    run: Path
    record: RunRecord
    catalog: Catalog = field(repr=False)


@contextmanager
def open_run(request: Request, resume: bool) -> Iterator[Prepared]:
    """A run to work in, held against other processes. Raises LabError for a wrong request."""
    prepared = None if resume else new_run(request)
    run = prepared.run if prepared else find_run(request.runs, request.name)
    with locked(run):
        yield prepared or resumed_run(run, request)


def new_run(request: Request) -> Prepared:
    """A new run. Raises LabError for anything wrong in the request, before the folder is made."""
    catalog = read_catalog(request.notebooks)
    parameters = all_parameters(catalog)
    profile = load_profile(request.profile or PROFILE, request.notebooks / "profiles", parameters)
    names, data_dir = request.select(catalog), request.data_folder()
    overrides = request.overrides(catalog, names)
    labs = {}
    for name in names:
        values = resolve(name, parameters[name], profile, overrides.get(name, {}))
        values = relative_data(values, request.runs, data_dir)
        labs[name] = LabRecord(catalog[name].title, list(catalog[name].needs), values)
    check_devices(labs)
    check_scheduler(request.scheduler)
    run = new_folder(request.runs, request.name)
    record = RunRecord(run.name, profile.name, now(), labs, request.jobs, overrides, data_dir)
    record.scheduler, record.versions = request.scheduler, versions()
    return Prepared(run, record, catalog)


def resumed_run(run: Path, request: Request) -> Prepared:
    """The run in the folder `run`, with what is not done pending again.

    Raises LabError for settings that contradict the stored ones.
    """
    catalog = read_catalog(request.notebooks)
    record = read_record(run)
    unknown = [name for name in record.labs if name not in catalog]
    if unknown:
        raise LabError(f"the run {record.name} has labs that are gone: {', '.join(unknown)}")
    for name, lab in record.labs.items():
        check_names(name, parameters_of(catalog[name].path), lab.parameters)
    differing = _differences(request, record, catalog)
    if differing:
        raise LabError(
            f"the run {record.name} was started with {'; '.join(differing)}",
            "resume it without these settings, or start a new run: leave out --resume",
        )
    record.jobs, record.data_dir = request.jobs, request.data_folder() or record.data_dir
    record.scheduler = request.scheduler  # the one of the first start may be gone
    for name, lab in record.labs.items():
        if lab.status != "done" or not (run / "notebooks" / f"{name}.ipynb").is_file():
            lab.reset()
    check_devices(record.labs)
    check_scheduler(request.scheduler)
    return Prepared(run, record, catalog)


def _differences(request: Request, record: RunRecord, catalog: Catalog) -> list[str]:
    """The stored settings that the request contradicts."""
    found, stored = [], list(record.labs)
    folder = request.notebooks / "profiles"
    if request.profile and profile_path(request.profile, folder).stem != record.profile:
        found.append(f"--profile {record.profile}")
    if (request.only or request.first or request.last) and request.select(catalog) != stored:
        found.append(f"the labs {', '.join(stored)}")
    for lab, given in request.overrides(catalog, stored).items():
        values = relative_data(given, request.runs, request.data_dir or record.data_dir)
        kept = record.labs[lab].parameters
        found += [f"{lab}.{name}={kept[name]}" for name in values if kept[name] != values[name]]
    return found
