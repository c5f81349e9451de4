"""A made lab of two exercises, and notebooks as students hand them in."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

NAME = "01_made"
AREA = '''def area(width: int, height: int) -> int:
    """The area of a rectangle."""
    ### BEGIN SOLUTION
    product = width * height
    return product
    ### END SOLUTION'''
AREA_CHECK = """assert area(2, 3) == 6
### BEGIN HIDDEN TESTS
assert area(7, unit) == 7
### END HIDDEN TESTS"""
SLOWEST = '''def slowest(rows: list[float]) -> float:
    """The largest of the clocked times."""
    ### BEGIN SOLUTION
    return sorted(rows)[-1]
    ### END SOLUTION'''
SLOWEST_CHECK = """assert slowest([1.0, 2.0]) == 2.0
### BEGIN HIDDEN TESTS
assert abs(slowest(clocked) - max(clocked)) < 1e-9
### END HIDDEN TESTS"""
RUBRIC = "<details><summary>Rubric</summary>\n\n- One point: it is the triangle.\n\n</details>"


def exercise(name: str, answer: str, check: str, points: float) -> list:
    about = {"schema_version": 3, "task": False, "cell_type": "code"}
    answered = about | {"grade": False, "locked": False, "solution": True, "grade_id": name}
    checked = about | {"grade": True, "locked": True, "solution": False, "points": points}
    folded = {"tags": ["hide-input"], "jupyter": {"source_hidden": True}}
    return [
        new_code_cell(answer, metadata={**folded, "nbgrader": answered}),
        new_code_cell(check, metadata={**folded, "nbgrader": checked | {"grade_id": f"{name}-t"}}),
    ]


def made_lab():
    """A lab as it is committed: executed, with solutions, hidden tests and a rubric."""
    shown = "Sides of a square of area 9? 3 (no guess yet)"
    answer = new_output("execute_result", {"text/plain": shown}, execution_count=3)
    cells = [
        new_markdown_cell("# Made"),
        new_code_cell('out: str = "../runs/interactive"', metadata={"tags": ["parameters"]}),
        new_code_cell("guess_side = None  # yours"),
        new_code_cell(
            'results.prediction("Sides of a square of area 9?", guess_side, 3)',
            outputs=[answer],
            execution_count=3,
        ),
        new_code_cell("import time\n\nunit = 1\nclocked = [time.perf_counter() for _ in range(3)]"),
        new_code_cell("raise SystemError('no exercise needs this cell')"),
        new_markdown_cell("### Exercise 1: an area (easy, 5 minutes, 2 points)\n\nWrite `area`."),
        *exercise("area", AREA, AREA_CHECK, 2),
        new_markdown_cell("### Exercise 2: the slowest (easy, 5 minutes, 3 points)"),
        *exercise("slowest", SLOWEST, SLOWEST_CHECK, 3),
        new_markdown_cell(f"### Exercise 3: which shape? (derivation, 1 point)\n\n{RUBRIC}"),
    ]
    labs = {"title": "A made lab", "question": "?", "needs": [], "minutes": {"quick": 1}}
    return new_notebook(cells=cells, metadata={"labs": labs, "papermill": {"host": "here"}})


def write_made_lab(folder: Path) -> Path:
    """A folder of notebooks with the made lab."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{NAME}.ipynb"
    nbformat.write(made_lab(), path)
    return path


def answered(student, answers: dict[str, str], guess: str = "None"):
    """A student version with answers by the name of their cells, and with a guess."""
    notebook = deepcopy(student)
    for cell in notebook.cells:
        name = cell.metadata.get("nbgrader", {}).get("grade_id")
        cell.source = answers.get(name, cell.source)
        cell.source = cell.source.replace("guess_side = None", f"guess_side = {guess}")
    return notebook


RIGHT = {
    "area": "def area(width, height):\n    return width * height",
    "slowest": "def slowest(rows):\n    return max(rows)",
}
