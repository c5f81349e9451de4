"""The exercises of a lab's notebook: answer cells, check cells, points."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from nbformat import NotebookNode

HEADING = re.compile(r"^### (Exercise .+?)(?: \([^()]*\))?$", re.MULTILINE)


@dataclass(frozen=True)
class Exercise:
    """A checked exercise: the name of its check cell, its title and its points."""

    name: str
    title: str
    points: float


def exercises_of(notebook: NotebookNode) -> list[Exercise]:
    """The exercises that are checked, in order; one without a heading goes by its name."""
    found, title = [], ""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            title = next(reversed(HEADING.findall(cell.source)), title)
        elif is_check(cell):
            name, points = grade_id(cell), float(cell.metadata["nbgrader"]["points"])
            found.append(Exercise(name, title or name, points))
            title = ""
    return found


def grade_id(cell: NotebookNode) -> str:
    """The name that nbgrader knows a cell by; empty for a cell that belongs to no exercise."""
    return str(_about(cell).get("grade_id", ""))


def is_answer(cell: NotebookNode) -> bool:
    """Whether a student answers in this cell."""
    return cell.cell_type == "code" and bool(_about(cell).get("solution"))


def is_check(cell: NotebookNode) -> bool:
    """Whether this cell checks answers, for points."""
    return cell.cell_type == "code" and bool(_about(cell).get("grade")) and not is_answer(cell)


def code_cells(cells: Iterable[NotebookNode]) -> Iterator[NotebookNode]:
    """The cells that hold code."""
    return (cell for cell in cells if cell.cell_type == "code" and cell.source.strip())


def _about(cell: NotebookNode) -> dict[str, object]:
    """What nbgrader's metadata say of a cell; a student may have put anything there."""
    about = cell.metadata.get("nbgrader")
    return about if isinstance(about, dict) else {}
