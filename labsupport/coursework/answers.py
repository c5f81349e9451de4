"""A student's answers set into the lab as the teacher has it."""

from __future__ import annotations

from copy import deepcopy

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

from labsupport.core.errors import LabError
from labsupport.coursework.exercises import code_cells, grade_id, is_answer
from labsupport.coursework.needed import needed_cells

MISSING = 'raise NotImplementedError("this cell is missing from the submission")'
Answers = dict[str, list[NotebookNode]]


def with_answers(lab: NotebookNode, submission: NotebookNode) -> NotebookNode:
    """What is run of a submission: the lab's own cells and checks, and the student's answers.

    So a check that was changed or deleted stands as it was, and a cell of the lab that was
    changed does not count. Of the cells that a student added, those an answer reads go along.
    Raises LabError for a notebook without any of the lab's answer cells.
    """
    answers = _answers_of(lab, submission)
    if not answers:
        raise LabError("no answer cell of this lab is in the notebook", "ask for the right one")
    cells: list[NotebookNode] = []
    for cell in code_cells(lab.cells):
        cells += _answered(cell, answers) if is_answer(cell) else [deepcopy(cell)]
    notebook = deepcopy(lab)
    notebook.cells = needed_cells(cells)
    return notebook


def _answers_of(lab: NotebookNode, submission: NotebookNode) -> Answers:
    """Each answer cell by its name, after the cells that the student added above it.

    Of two cells with one name the last counts, as in a notebook that is run from top to bottom.
    """
    known = {grade_id(cell) for cell in lab.cells if is_answer(cell)}
    ours = {cell.get("id") for cell in lab.cells} | {cell.source for cell in lab.cells}
    answers: Answers = {}
    added: list[NotebookNode] = []
    for cell in code_cells(submission.cells):
        if grade_id(cell) in known:
            answers[grade_id(cell)] = [*added, cell]
            added = []
        elif not (grade_id(cell) or {cell.get("id"), cell.source} & ours):
            added.append(cell)
    return answers


def _answered(cell: NotebookNode, answers: Answers) -> list[NotebookNode]:
    """The cells in place of a lab's answer: the student's, or one that says it is missing."""
    sources = [each.source for each in answers.get(grade_id(cell), [])] or [MISSING]
    cells: list[NotebookNode] = [new_code_cell(source) for source in sources]  # type: ignore[no-untyped-call]
    cells[-1].metadata["nbgrader"] = deepcopy(cell.metadata["nbgrader"])
    return cells
