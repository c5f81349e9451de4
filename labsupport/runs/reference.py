"""Reference results: the tables of a finished run, kept in data/reference and never by hand."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd

from labsupport.core.errors import LabError
from labsupport.core.files import atomic_folder
from labsupport.records.definitions import CLAIMS, read_definitions
from labsupport.records.tables import write_table
from labsupport.runs.catalog import read_catalog
from labsupport.runs.conditions import Conditions, mixture
from labsupport.runs.profiles import all_parameters, load_profile
from labsupport.runs.record import RunRecord, read_record


def keep_reference(run: Path, course: Path) -> list[Path]:
    """Copy every table of a finished run, with its machine report, to data/reference/PROFILE/LAB.

    Other labs keep what is there. Raises LabError for a run that is not finished, has other
    parameters than the course's profile, trained on a cluster, or is a `mixture`.
    """
    record = read_record(run)
    if {lab.status for lab in record.labs.values()} != {"done"}:
        remedy = f"finish it with `labs run --resume --name {record.name}`"
        raise LabError(f"the run {record.name} is not finished", remedy)
    changed = ", ".join(_unlike_profile(record, course))
    problems = [f"{changed} ran with other parameters than the profile's"] if changed else []
    remote = ", ".join(lab for lab, ran in record.conditions.items() if ran.scheduler)
    problems += [f"{remote} trained on machines that are not on record"] if remote else []
    if problems := problems + mixture(record.conditions):
        problem = f"the run {record.name} is no reference: {'; '.join(problems)}"
        remedy = f"run `labs run --profile {record.profile}` without other options"
        raise LabError(problem, remedy)
    kept = course / "data/reference" / record.profile
    return [_keep_lab(run, lab, ran, kept / lab) for lab, ran in record.conditions.items()]


def _unlike_profile(record: RunRecord, course: Path) -> list[str]:
    """The labs whose parameters are not those of the run's profile as it is now."""
    parameters = all_parameters(read_catalog(course / "notebooks"))
    profile = load_profile(record.profile, course / "notebooks/profiles", parameters)
    now = {lab: profile.values(lab, parameters.get(lab, {})) for lab in record.labs}
    on_own_data = read_definitions(course / CLAIMS).on_own_data
    ran = {lab: on_own_data(lab, record.profile, of.parameters) for lab, of in record.labs.items()}
    return [lab for lab in now if now[lab] | ran[lab] != record.labs[lab].parameters]


def _keep_lab(run: Path, lab: str, ran: Conditions, kept: Path) -> Path:
    with atomic_folder(kept) as folder:
        for table in (run / "tables" / lab).glob("*.csv"):
            shutil.copyfile(table, folder / table.name)
        write_table(folder / "machine_report.csv", pd.DataFrame(ran.machine))
    return kept
