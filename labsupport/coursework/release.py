"""Handing out labs: a notebook without answers each, and a ZIP that runs on its own."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from labsupport.core.errors import LabError
from labsupport.core.files import atomic_write, write_text
from labsupport.coursework.leaks import leaks
from labsupport.coursework.overlay import overlaid
from labsupport.coursework.student import student_version
from labsupport.runs.parameters import read_notebook

# What a lab needs besides its notebook: the environment, the package, claims and reference.
ALONG = (
    *("environment.yml", "constraints.txt", "pyproject.toml", "README.md", "LICENSE"),
    *("labsupport/**/*", "notebooks/claims.yaml", "notebooks/profiles/*.yaml"),
    "data/reference/**/*",
)
TOP = "efficient-networks-labs"  # the ZIPs of several labs unpack into one folder
SHOWN = 3  # leaks that are told in full


@dataclass(frozen=True)
class Release:
    """What was handed out of one lab."""

    notebook: Path
    archive: Path


def release_lab(path: Path, folder: Path, course: Path, overlay: Path | None = None) -> Release:
    """Write the student version of a lab to folder/LAB/LAB.ipynb and folder/LAB.zip.

    `course` is the folder whose environment goes along. Raises LabError, and writes nothing, if
    an answer would leak or a file cannot be read or written.
    """
    lab = teachers_version(path, overlay)
    student = student_version(lab)
    if found := leaks(lab, student):
        shown = "; ".join(found[:SHOWN])
        problem = f"the student version of {path.stem} gives away: {shown}"
        raise LabError(problem, "mark all of it as solution or hidden test in the lab")
    text = nbformat.writes(student) + "\n"  # type: ignore[no-untyped-call]
    released = Release(folder / path.stem / path.name, folder / f"{path.stem}.zip")
    write_text(released.notebook, text)
    _write_archive(released.archive, f"notebooks/{path.name}", text, course)
    return released


def teachers_version(path: Path, overlay: Path | None = None) -> NotebookNode:
    """A lab with its answers, and with a teacher's own cells in place of the public ones."""
    lab = read_notebook(path)
    return overlaid(lab, overlay / path.stem) if overlay else lab


def _write_archive(path: Path, name: str, text: str, course: Path) -> None:
    with (
        atomic_write(path) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        _add(archive, name, text.encode())
        for file in _along(course):
            _add(archive, file.relative_to(course).as_posix(), file.read_bytes())


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    """Add a file that all may read, without the time: the same lab makes the same archive."""
    entry = zipfile.ZipInfo(f"{TOP}/{name}")
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, content, zipfile.ZIP_DEFLATED)


def _along(course: Path) -> Iterator[Path]:
    for pattern in ALONG:
        found = [file for file in sorted(course.glob(pattern)) if file.is_file()]
        yield from (file for file in found if "__pycache__" not in file.parts)
