"""A teacher's own variants of exercises, kept in a private folder, in place of the public ones.

`FOLDER/LAB/NAME.py` replaces the answer or check cell that nbgrader knows as NAME, and
`FOLDER/LAB/NAME.md` the text above it. Solutions and hidden tests stand in the same marked regions
as in a lab.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from pathlib import Path

from nbformat import NotebookNode

from labsupport.core.errors import LabError
from labsupport.coursework.exercises import grade_id


def overlaid(notebook: NotebookNode, folder: Path) -> NotebookNode:
    """A copy of a lab with the cells that stand in a teacher's folder for this lab.

    A folder that does not exist changes nothing. Raises LabError for a file that fits no cell.
    """
    lab = deepcopy(notebook)
    names = [grade_id(cell) for cell in lab.cells]
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        _check_name(path, names)
        place = names.index(path.stem)
        cell = lab.cells[place] if path.suffix == ".py" else _text_above(lab, place, path)
        cell.source = _text(path)
    return lab


def check_overlay(folder: Path | None, labs: Iterable[str]) -> None:
    """Refuse a folder of a teacher that is not there, or that names no lab."""
    if folder is None:
        return
    if not folder.is_dir():
        raise LabError(f"there is no folder {folder}", "name that of your own exercises")
    known = sorted(labs)
    unknown = [path.name for path in folder.iterdir() if path.is_dir() and path.name not in known]
    if unknown:
        problem = f"no lab has the name of the folder {unknown[0]} in {folder}"
        raise LabError(problem, f"labs are: {', '.join(known)}")


def _check_name(path: Path, names: list[str]) -> None:
    known = [name for name in names if name]
    if path.suffix not in (".py", ".md") or path.stem not in known:
        problem = f"{path} replaces no cell of the lab"
        remedy = f"name it NAME.py, or NAME.md for the text above; names are: {', '.join(known)}"
        raise LabError(problem, remedy)


def _text_above(lab: NotebookNode, place: int, path: Path) -> NotebookNode:
    if place == 0 or lab.cells[place - 1].cell_type != "markdown":
        raise LabError(f"{path}: there is no text above this cell", "give the name of the answer")
    above: NotebookNode = lab.cells[place - 1]
    return above


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").rstrip("\n")
    except (OSError, UnicodeError) as error:
        raise LabError(f"{path} cannot be read: {error}", "store it as UTF-8 text") from error
