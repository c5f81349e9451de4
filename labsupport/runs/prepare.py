"""From what a user asks for to a run that can start: everything is checked here."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
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
    Value,
    find_run,
    locked,
    new_folder,
    now,
    read_record,
    versions,
)

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
        problem = f"the run {record.name} was started with {'; '.join(differing)}"
        raise LabError(problem, "resume it without these settings, or start a new run")
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


def relative_data(
    values: Mapping[str, Value], runs: Path, data_dir: str | Path | None
) -> dict[str, Value]:
    """A lab's values with the path in `data` as the folder of a run in `runs` sees it.

    As given if it is absolute or in the data folder, else relative to the run's folder: labs run
    there, and an absolute path would put its user's name into the notebooks.
    Raises LabError for a csv:PATH or folder:PATH that is not there.
    """
    kind, colon, path = str(values.get("data", "")).partition(":")
    if not colon:
        return dict(values)
    from labsupport.data.sources import data_folder, find_path  # torch comes along: seconds

    given, found = Path(path).expanduser(), find_path(path, data_folder(data_dir))
    if not given.is_absolute() and found == given:
        path = os.path.relpath(found.resolve(), runs.resolve() / "run")
    return {**values, "data": f"{kind}:{path}"}


def check_devices(labs: Mapping[str, LabRecord]) -> None:
    """Raises LabError if one of the labs still to run asks for a device that is not there."""
    for name, lab in labs.items():
        device = lab.parameters.get("device", "cpu")
        if device == "cpu" or lab.status == "done":
            continue
        import torch  # here, because it takes seconds

        if not torch.cuda.is_available():
            problem = f"{name} asks for device={device}, but PyTorch finds no CUDA device here"
            raise LabError(problem, "start a new run with -p device=cpu")


def check_scheduler(address: str | None) -> None:
    """Raises LabError if no Dask scheduler answers at the address; None asks for none."""
    if address:
        from labsupport.sweep import connected  # torch comes along: seconds

        with connected(address):
            pass
