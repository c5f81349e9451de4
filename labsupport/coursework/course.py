"""The two commands of a teacher: hand out labs, grade what comes back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
import pandas as pd
from nbformat import NotebookNode

from labsupport.core.files import atomic_folder, write_text
from labsupport.coursework.exercises import exercises_of, grade_id
from labsupport.coursework.feedback import feedback_page, file_stem
from labsupport.coursework.grade import Graded, Grader
from labsupport.coursework.overlay import check_overlay
from labsupport.coursework.processes import Limits
from labsupport.coursework.release import Release, release_lab, teachers_version
from labsupport.coursework.submissions import Submission, find_submissions, lab_of
from labsupport.coursework.tables import guesses_table, in_utf8, points_table
from labsupport.records.tables import write_table
from labsupport.runs.catalog import Catalog, find_lab, read_catalog
from labsupport.runs.parameters import read_notebook


@dataclass(frozen=True)
class Course:
    """Where the labs lie, the folder whose environment goes along, a teacher's own exercises."""

    notebooks: Path
    root: Path
    overlay: Path | None = None

    def catalog(self) -> Catalog:
        """All labs. Raises LabError if they or the overlay cannot be read."""
        catalog = read_catalog(self.notebooks)
        check_overlay(self.overlay, catalog)
        return catalog

    def select(self, labs: Sequence[str]) -> list[Path]:
        """The notebooks of labs by name or number, of all if none is named. Raises LabError."""
        catalog = self.catalog()
        names = [find_lab(catalog, lab) for lab in labs] or list(catalog)
        return [catalog[name].path for name in names]

    def release(self, notebook: Path, folder: Path) -> Release:
        """Hand out a lab. Raises LabError as `release_lab`."""
        return release_lab(notebook, folder, self.root, self.overlay)


@dataclass(frozen=True)
class Grading:
    """Submissions of one lab, and how they are to be graded: `jobs` at once."""

    course: Course
    lab: str
    title: str
    submissions: list[Submission]
    limits: Limits
    jobs: int

    def __call__(self, folder: Path, tell: Callable[[Graded], None]) -> pd.DataFrame:
        """Write points.csv, predictions.csv, feedback/ and graded/; the table of points.

        `tell` hears of each submission as it is done. Raises LabError if the lab's own solutions
        do not get full points or a file cannot be written.
        """
        path = self.course.catalog()[self.lab].path
        lab = teachers_version(path, self.course.overlay)
        with TemporaryDirectory(prefix="labs-grade-") as own:
            grader = Grader(lab, self.limits, Path(own) / "runs")
            graded = self._graded(grader, tell)
        return self._write(folder, lab, graded)

    def _graded(self, grader: Grader, tell: Callable[[Graded], None]) -> list[Graded]:
        """The lab itself, then all submissions in order; when it is stopped, so are the kernels.

        All of it runs in threads: nbclient would take signals of the main one for its own.
        """
        done = []
        with ThreadPoolExecutor(self.jobs) as pool:
            try:
                pool.submit(grader.prepare).result()
                for graded in pool.map(grader, self.submissions):
                    tell(graded)
                    done.append(graded)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                grader.stopped.set()
                raise
        return done

    def _write(self, folder: Path, lab: NotebookNode, graded: list[Graded]) -> pd.DataFrame:
        """Write all files; those of an earlier grading into the same folder go."""
        exercises = exercises_of(lab)
        with (
            atomic_folder(folder / "feedback") as pages,
            atomic_folder(folder / "graded") as notebooks,
        ):
            for place, each in enumerate(graded, 1):
                stem = file_stem(place, each.student)
                page = feedback_page(self.title, each, exercises)
                write_text(pages / f"{stem}.html", in_utf8(page))
                if each.notebook:
                    text = nbformat.writes(each.notebook)  # type: ignore[no-untyped-call]
                    write_text(notebooks / f"{stem}.ipynb", in_utf8(text + "\n"))
        table = points_table(graded, exercises)
        write_table(folder / "points.csv", table)
        write_table(folder / "predictions.csv", guesses_table(graded))
        return table


def open_grading(
    course: Course, folder: Path, lab: str | None, limits: Limits, jobs: int
) -> Grading:
    """What is to be graded: the notebooks of a folder, of one lab, which they tell if it is None.

    Raises LabError for a folder without notebooks and for an unknown lab.
    """
    catalog = course.catalog()
    submissions = find_submissions(folder)
    name = find_lab(catalog, lab) if lab else lab_of(submissions, cell_names(catalog))
    return Grading(course, name, catalog[name].title, submissions, limits, jobs)


def cell_names(catalog: Catalog) -> dict[str, set[str]]:
    """The names of the exercises' cells of each lab."""
    cells = {name: read_notebook(lab.path).cells for name, lab in catalog.items()}
    return {name: {grade_id(cell) for cell in own} - {""} for name, own in cells.items()}
