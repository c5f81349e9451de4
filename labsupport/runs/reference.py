"""Reference results: the tables of a finished run, kept in data/reference and never by hand."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd

from labsupport.core.errors import LabError
from labsupport.core.files import explained
from labsupport.records.tables import write_table
from labsupport.runs.conditions import Conditions, mixture
from labsupport.runs.record import RunRecord, read_record

MACHINE = "machine_report"


def keep_reference(run: Path, reference: Path) -> list[Path]:
    """Copy every table of a finished run, with its machine report, to reference/PROFILE/LAB.

    Labs that are not part of the run keep what is there. Raises LabError for a run that is not
    finished or changed parameters of its profile, and for labs that shared the machine or were not
    all run with the same code and versions on the same machine.
    """
    record = read_record(run)
    if {lab.status for lab in record.labs.values()} != {"done"}:
        remedy = f"finish it with `labs run --resume --name {record.name}`"
        raise LabError(f"the run {record.name} is not finished", remedy)
    if problems := obstacles(record):
        problem = f"the run {record.name} is no reference: {'; '.join(problems)}"
        remedy = f"run `labs run --profile {record.profile}` without -p, --data and --jobs"
        raise LabError(problem, remedy)
    return [
        _keep_lab(run, lab, ran, reference / record.profile / lab)
        for lab, ran in record.conditions.items()
    ]


def obstacles(record: RunRecord) -> list[str]:
    """What of a run keeps its labs' tables from standing side by side, in words."""
    crowded = [lab for lab, ran in record.conditions.items() if ran.jobs > 1]
    found = {
        "parameters were changed in": ", ".join(record.overrides),
        "labs ran at once:": ", ".join(crowded),
        "labs did not run alike:": mixture(record.conditions),
    }
    return [f"{problem} {where}" for problem, where in found.items() if where]


def _keep_lab(run: Path, lab: str, ran: Conditions, kept: Path) -> Path:
    with explained(kept):
        if kept.exists():
            shutil.rmtree(kept)
        kept.mkdir(parents=True)
        for table in (run / "tables" / lab).glob("*.csv"):
            shutil.copyfile(table, kept / table.name)
    write_table(kept / f"{MACHINE}.csv", pd.DataFrame(ran.machine))
    return kept
