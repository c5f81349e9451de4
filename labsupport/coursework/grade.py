"""Grading submissions of one lab, each on its own, with what the lab's own run has trained."""

from __future__ import annotations

import shutil
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event

from nbformat import NotebookNode

from labsupport.core.errors import LabError, summarize
from labsupport.coursework.answers import with_answers
from labsupport.coursework.exercises import code_cells
from labsupport.coursework.guesses import Guess, guesses_of
from labsupport.coursework.kernel import LimitedRun, cleared
from labsupport.coursework.marks import Mark, marks_of
from labsupport.coursework.needed import needed_cells
from labsupport.coursework.processes import Limits
from labsupport.coursework.student import student_version
from labsupport.coursework.submissions import Submission, read_submission

LAB_SECONDS = 3600  # for the lab's own run, which trains what submissions read back
RUNS = "runs"  # beside the folder of notebooks: where a lab's parameter `out` leads


@dataclass(frozen=True)
class Graded:
    """What a submission got; `problem` says why there was nothing to grade."""

    student: str
    marks: list[Mark] = field(default_factory=list)
    guesses: list[Guess] = field(default_factory=list)
    notebook: NotebookNode | None = None
    problem: str = ""

    @property
    def points(self) -> float:
        """Points in all."""
        return sum(mark.points for mark in self.marks)


@dataclass
class Grader:
    """Grades submissions of one lab, which it has run itself first.

    `runs` is what the lab's own run left: trained networks, which submissions read back. When
    `stopped` is set, all kernels end.
    """

    lab: NotebookNode
    limits: Limits
    runs: Path
    stopped: Event = field(default_factory=Event)
    _shown: str = ""

    def __post_init__(self) -> None:
        self._shown = "\n".join(cell.source for cell in student_version(self.lab).cells)

    def prepare(self) -> None:
        """Grade the lab itself, and keep what it trains.

        Raises LabError if it does not get full points: then no student could.
        """
        lab = deepcopy(self.lab)
        lab.cells = needed_cells(list(code_cells(lab.cells)))
        whole = replace(self.limits, cell_seconds=LAB_SECONDS, seconds=LAB_SECONDS)
        marks = self._marks(lab, whole, keep=True)
        for mark in marks:
            if mark.points < mark.exercise.points:
                told = "; ".join(mark.problems) or "see its check"
                problem = f"the lab's own solution of {mark.exercise.name} fails: {told}"
                raise LabError(problem, "correct the lab or the overlay")

    def __call__(self, submission: Submission) -> Graded:
        """Grade one submission. Whatever is wrong with it stands in the result."""
        try:
            handed_in = read_submission(submission.path)
            notebook = with_answers(self.lab, handed_in)
            marks = self._marks(notebook, self.limits)
            guesses = guesses_of(self.lab, handed_in)
        except Exception as error:  # nothing that a submission holds may stop the others
            problem = str(error) if isinstance(error, LabError) else summarize(error)
            return Graded(submission.student, problem=problem)
        return Graded(submission.student, marks, guesses, notebook)

    def _marks(self, notebook: NotebookNode, limits: Limits, keep: bool = False) -> list[Mark]:
        """Execute in a folder of its own, with a copy of the lab's trained networks."""
        with TemporaryDirectory(prefix="labs-grade-", ignore_cleanup_errors=True) as name:
            folder = Path(name) / "notebooks"
            folder.mkdir()
            if self.runs.exists():
                shutil.copytree(self.runs, Path(name) / RUNS)
            LimitedRun(cleared(notebook), folder, limits, self.stopped)()
            if keep and (Path(name) / RUNS).exists():
                shutil.move(Path(name) / RUNS, self.runs)
        return marks_of(self.lab, notebook, self._shown)
