"""The notebooks that students handed in, by student, and which lab they are of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path

from nbformat import NotebookNode

from labsupport.core.errors import LabError
from labsupport.coursework.exercises import grade_id
from labsupport.runs.parameters import read_notebook

MOST_BYTES = 20 * 2**20  # of a notebook handed in; a lab with all its figures has under 1 MB


@dataclass(frozen=True)
class Submission:
    """One notebook handed in; `student` is the name of its file or of its first folder."""

    student: str
    path: Path


def find_submissions(folder: Path) -> list[Submission]:
    """The notebooks of a folder: STUDENT.ipynb, or STUDENT/.../ANY.ipynb, in order.

    A student with several notebooks stands once for each, by its path. Raises LabError for none.
    """
    paths = [path for path in sorted(folder.rglob("*.ipynb")) if _is_own(path.relative_to(folder))]
    if not paths:
        raise LabError(f"no notebook in {folder}", "name the folder of the students' notebooks")
    heads = Counter(_head(path, folder) for path in paths)
    return [Submission(_student(path, folder, heads), path) for path in paths]


def read_submission(path: Path) -> NotebookNode:
    """A notebook handed in. Raises LabError for a link, a very large file and no notebook."""
    if path.is_symlink() or not path.is_file():
        raise LabError(f"{path.name} is no plain file", "ask for the notebook itself")
    if path.stat().st_size > MOST_BYTES:
        problem = f"{path.name} is larger than {MOST_BYTES // 2**20} MB"
        raise LabError(problem, "ask for it without outputs")
    try:
        return read_notebook(path)
    except Exception as error:  # whatever nbformat makes of a file that is no notebook
        raise LabError(f"{path.name} is not a notebook", "ask for it again") from error


def lab_of(submissions: list[Submission], names: Mapping[str, Set[str]]) -> str:
    """The lab whose cells stand in most of the notebooks; `names` are those of each lab's cells.

    Raises LabError if there is none.
    """
    found = Counter(lab for each in submissions for lab in _labs_in(each, names))
    if not found:
        remedy = f"name the lab with --lab; labs are: {', '.join(names)}"
        raise LabError("no submission holds a cell of a lab's exercises", remedy)
    return found.most_common(1)[0][0]


def _labs_in(submission: Submission, names: Mapping[str, Set[str]]) -> list[str]:
    """The lab that a notebook shares most of its graded cells with, if any."""
    try:
        cells = read_submission(submission.path).cells
    except LabError:
        return []
    own = {grade_id(cell) for cell in cells} - {""}
    shared = {lab: len(own & of_lab) for lab, of_lab in names.items()}
    best = max(shared, key=lambda lab: shared[lab])
    return [best] if shared[best] else []


def _is_own(path: Path) -> bool:
    """Whether a path is not one of JupyterLab's checkpoints or of another hidden folder."""
    return not any(part.startswith((".", "__MACOSX")) for part in path.parts)


def _head(path: Path, folder: Path) -> str:
    first, *rest = path.relative_to(folder).parts
    return first if rest else path.stem


def _student(path: Path, folder: Path, heads: Mapping[str, int]) -> str:
    head = _head(path, folder)
    return head if heads[head] == 1 else path.relative_to(folder).with_suffix("").as_posix()
