"""Points and what went wrong, exercise by exercise, read from an executed notebook."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from nbformat import NotebookNode
from nbgrader.utils import determine_grade

from labsupport.core.errors import one_line
from labsupport.coursework.exercises import Exercise, exercises_of, grade_id, is_answer, is_check
from labsupport.coursework.kernel import errors_of

COLORS = re.compile(r"\x1b\[[0-9;]*m")
ARROW = re.compile(r"^-+> *\d+ (.*)$", re.MULTILINE)  # IPython's mark at the line that failed


@dataclass(frozen=True)
class Mark:
    """What an exercise got: points, the student's code, and what went wrong, a line each."""

    exercise: Exercise
    points: float
    code: str
    problems: tuple[str, ...] = ()


def marks_of(lab: NotebookNode, executed: NotebookNode, shown: str) -> list[Mark]:
    """The marks of all exercises of a lab; `shown` is the text that students may see of it.

    Of a failed check that stands in there the line is quoted; of others only that they failed.
    """
    parts = dict(_parts(executed))
    return [_mark(exercise, parts[exercise.name], shown) for exercise in exercises_of(lab)]


def _parts(executed: NotebookNode) -> Iterator[tuple[str, list[NotebookNode]]]:
    """Each check with the cells since the one before, by its name."""
    cells: list[NotebookNode] = []
    for cell in executed.cells:
        cells.append(cell)
        if is_check(cell):
            yield grade_id(cell), cells
            cells = []


def _mark(exercise: Exercise, cells: list[NotebookNode], shown: str) -> Mark:
    code = "\n\n".join(cell.source for cell in cells if is_answer(cell))
    problems = [_problem(cell, shown) for cell in cells if errors_of(cell)]
    return Mark(exercise, _points(cells[-1]), code, tuple(problems))


def _points(check: NotebookNode) -> float:
    """Points by nbgrader's rule, but that a warning costs none."""
    quiet = [output for output in check.outputs if output.get("name") != "stderr"]
    try:
        judged = NotebookNode({**check, "outputs": quiet})  # type: ignore[no-untyped-call]
        points, _ = determine_grade(judged)
    except (ValueError, KeyError):  # something that claims to be a partial grade
        return 0.0
    return float(points or 0)


def _problem(cell: NotebookNode, shown: str) -> str:
    """What went wrong in a cell, in one line; a hidden check does not tell what it asks."""
    error = errors_of(cell)[-1]  # a time-out stands after the interrupt that it caused
    text = COLORS.sub("", "\n".join(error.traceback))
    lines = [line.strip() for line in ARROW.findall(text)]
    if is_check(cell) and lines and lines[0] not in shown:
        return f"a hidden check failed ({error.ename})"
    what = one_line(error.ename, COLORS.sub("", error.evalue))
    where = f" at `{lines[0]}`" if lines else ""
    return f"{_place(cell)} failed{where}: {what}"


def _place(cell: NotebookNode) -> str:
    if is_check(cell):
        return "a check"
    return "your answer" if is_answer(cell) else "a cell above"
