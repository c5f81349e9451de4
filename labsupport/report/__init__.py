"""Reports: a run, or the whole course, as a site that reads offline from `file://`."""

from __future__ import annotations

from pathlib import Path

from labsupport.errors import LabError
from labsupport.report.pages import Content
from labsupport.report.record import read_record
from labsupport.report.site import build_site

__all__ = ["build_course", "build_report"]


def build_report(run: Path) -> Path:
    """Build the report of a run's folder in `run/report` and give back its front page.

    Needs nothing but what the run has left so far. Raises LabError when that is nothing, when
    a file is damaged, or when the site cannot be built (see `build_site`).
    """
    content = _content("Report of run {name}", run, run / "notebooks")
    return build_site(content, run / "report", run / "logs" / "report.log")


def build_course(notebooks: Path, reference: Path, destination: Path) -> Path:
    """Build the committed notebooks with the reference tables as a site; give back its front page.

    `reference` is laid out like a run's folder. Raises LabError as `build_report` does.
    """
    content = _content("The course", reference, notebooks)
    return build_site(content, destination, destination.with_name(f"{destination.name}.log"))


def _content(title: str, folder: Path, notebooks: Path) -> Content:
    found = sorted(notebooks.glob("[!.]*.ipynb"))
    if not (found or (folder / "run.json").exists() or (folder / "tables").is_dir()):
        raise LabError(f"there is nothing to report in {folder}", "run the labs first: labs run")
    record = read_record(folder / "run.json", found)
    return Content(title.format(name=record.name), record, found, folder)
