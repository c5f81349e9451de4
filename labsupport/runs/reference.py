"""Reference results: the tables of a finished run, kept in data/reference and never by hand."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd

from labsupport.core.errors import LabError
from labsupport.core.files import atomic_write, explained
from labsupport.records.tables import write_table
from labsupport.runs.record import RunRecord, read_record

MACHINE = "machine_report"


def keep_reference(run: Path, reference: Path) -> list[Path]:
    """Copy every table of a finished run, with its machine report, to reference/PROFILE/LAB.

    Labs that are not part of the run keep what is there. Raises LabError for a run that is not
    finished, or that changed parameters of its profile.
    """
    record = read_record(run)
    if not record.finished:
        remedy = f"finish it with `labs run --resume --name {record.name}`"
        raise LabError(f"the run {record.name} is not finished", remedy)
    if record.overrides or record.jobs > 1:
        problem = f"the run {record.name} changed parameters of its profile or ran labs at once"
        remedy = f"run `labs run --profile {record.profile}` without -p, --data and --jobs"
        raise LabError(problem, remedy)
    return [_keep_lab(run, record, lab, reference / record.profile / lab) for lab in record.labs]


def _keep_lab(run: Path, record: RunRecord, lab: str, kept: Path) -> Path:
    tables = sorted((run / "tables" / lab).glob("*.csv"))
    for table in tables:
        with atomic_write(kept / table.name) as temporary:
            shutil.copyfile(table, temporary)
    write_table(kept / f"{MACHINE}.csv", pd.DataFrame(record.machine))
    current = {MACHINE, *(table.stem for table in tables)}
    with explained(kept):
        for path in kept.glob("*.csv"):
            if path.stem not in current:
                path.unlink()
    return kept
