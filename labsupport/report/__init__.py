"""The report of a run: a site that reads offline from `file://`."""

from __future__ import annotations

from pathlib import Path

from labsupport.report.pages import Content
from labsupport.report.site import build_site
from labsupport.runs.record import read_record


def build_report(run: Path) -> Path:
    """Build the report of a run's folder in `run/report` and give back its front page.

    Labs that left no notebook have no page. Raises LabError when the folder holds no run, when
    a file is damaged, or when the site cannot be built (see `build_site`).
    """
    record = read_record(run)
    kept = [run / "notebooks" / f"{lab}.ipynb" for lab in record.labs]
    content = Content(record, [notebook for notebook in kept if notebook.is_file()], run)
    return build_site(content, run / "report", run / "logs" / "report.log")
