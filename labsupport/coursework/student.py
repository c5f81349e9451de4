"""The student version of a lab: no solution, no hidden test, no rubric, no output."""

from __future__ import annotations

import re
from copy import deepcopy

from nbformat import NotebookNode
from nbgrader.preprocessors import (
    CheckCellMetadata,
    ClearHiddenTests,
    ClearOutput,
    ClearSolutions,
    ComputeChecksums,
    LockCells,
)

from labsupport.core.errors import LabError, summarize

# As nbgrader's own GenerateAssignment, but for its gradebook.
STEPS = (LockCells, ClearSolutions, ClearHiddenTests, ClearOutput)
STEPS_OF_CHECKING = (CheckCellMetadata, ComputeChecksums)
RUBRIC = re.compile(r"<details>\s*<summary>Rubric</summary>.*?</details>", re.DOTALL)
IN_WRITING = "**Your answer:** write it here, in place of this line."
FOLDED = "hide-input"
KEPT = ("nbgrader", "tags", "deletable", "editable")  # of a cell's metadata
KEPT_OF_NOTEBOOK = ("kernelspec", "language_info", "labs")


def student_version(lab: NotebookNode) -> NotebookNode:
    """A lab as it is handed out, unfolded. Raises LabError for marks that nbgrader refuses."""
    notebook = deepcopy(lab)
    try:
        for step in (*STEPS, *STEPS_OF_CHECKING):
            notebook, _ = step().preprocess(notebook, {})
    except Exception as error:  # nbgrader has no kind of its own for what it refuses
        remedy = "see the BEGIN and END lines of its solutions and hidden tests"
        raise LabError(f"nbgrader refuses the lab: {summarize(error)}", remedy) from error
    for cell in notebook.cells:
        _tidy(cell)
    notebook.metadata = _only(notebook.metadata, KEPT_OF_NOTEBOOK)
    return notebook


def _tidy(cell: NotebookNode) -> None:
    """Take rubrics from a text, and from the metadata what folds a cell or was left by a run."""
    cell.metadata = _only(cell.metadata, KEPT)
    if FOLDED in cell.metadata.get("tags", ()):
        cell.metadata["tags"] = [tag for tag in cell.metadata["tags"] if tag != FOLDED]
    if cell.cell_type == "markdown":
        cell.source = RUBRIC.sub(IN_WRITING, cell.source)


def _only(metadata: NotebookNode, names: tuple[str, ...]) -> NotebookNode:
    kept = {name: metadata[name] for name in names if name in metadata}
    return NotebookNode(kept)  # type: ignore[no-untyped-call]
