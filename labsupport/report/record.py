"""What a report tells of a run: its `run.json`, read with patience for what is missing."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import nbformat

from labsupport.errors import LabError


@dataclass(frozen=True)
class Lab:
    """One lab of a run; `page` is absent for a lab that never ran."""

    name: str
    title: str = ""
    page: str = ""
    status: str = ""
    seconds: float | None = None
    error: str = ""
    cell: int | None = None
    peak_memory_bytes: float | None = None

    @property
    def failed(self) -> bool:
        """Whether the lab ended with an error; one that was skipped did not begin."""
        return self.status == "failed"


@dataclass(frozen=True)
class Record:
    """A run as its report shows it."""

    name: str
    profile: str = ""
    date: str = ""
    labs: list[Lab] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    machine: list[dict[str, str]] = field(default_factory=list)


def read_record(path: Path, notebooks: list[Path]) -> Record:
    """The record in the file `path`, which may be absent, joined with the executed notebooks.

    Raises LabError when the file is damaged or a notebook cannot be read.
    """
    stored = _stored(path)
    titles = {notebook.stem: _title(notebook) for notebook in notebooks}
    entries = stored.get("labs") or {}
    return Record(
        name=stored.get("name") or path.parent.name,
        profile=stored.get("profile") or "",
        date=_date(stored, path),
        labs=[_lab(name, entries.get(name) or {}, titles) for name in {**entries, **titles}],
        versions=stored.get("versions") or {},
        machine=stored.get("machine") or [],
    )


def _stored(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LabError(f"{path} is damaged: {error}", "run the labs again") from error
    if not isinstance(stored, dict):
        raise LabError(f"{path} is damaged: it holds no record of a run", "run the labs again")
    return stored


def _title(notebook: Path) -> str:
    """A notebook's title: from its metadata, else its first heading, else its name."""
    try:
        content = nbformat.read(notebook, as_version=4)  # type: ignore[no-untyped-call]
    except Exception as error:  # nbformat lets errors of json and of its schema out as they are
        raise LabError(f"{notebook} is no notebook: {error}", "run the lab again") from error
    told = content.metadata.get("labs", {}).get("title")
    return told or heading(content) or notebook.stem


def heading(notebook: nbformat.NotebookNode) -> str:
    """The first top heading of a notebook, or nothing."""
    texts = (cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    lines = (line for text in texts for line in text.splitlines())
    return next((line[2:].strip() for line in lines if line.startswith("# ")), "")


def _lab(name: str, entry: dict[str, Any], titles: dict[str, str]) -> Lab:
    return Lab(
        name=name,
        title=entry.get("title") or titles.get(name, name),
        page=f"{name}.html" if name in titles else "",
        status=str(entry.get("status") or ""),
        seconds=entry.get("seconds"),
        error=str(entry.get("error") or ""),
        cell=entry.get("cell"),
        peak_memory_bytes=entry.get("peak_memory_bytes"),
    )


def _date(stored: dict[str, Any], path: Path) -> str:
    """When the run began, else when its record was written, to the minute."""
    if stored.get("created"):
        return str(stored["created"]).replace("T", " ")[:16]
    if not path.exists():
        return ""
    return datetime.fromtimestamp(path.stat().st_mtime).strftime("%Y-%m-%d %H:%M")
