"""The cells that exercises need: those that give a name which an exercise reads, and so on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from nbformat import NotebookNode

from labsupport.coursework.exercises import is_answer, is_check
from labsupport.coursework.names_in_code import Statement, reads_before, statements


def needed_cells(cells: Sequence[NotebookNode]) -> list[NotebookNode]:
    """The answers and checks among code cells, and the cells above that they build on.

    Read backwards: a cell is kept if it gives or changes a name that is still wanted. What only an
    alias or a random generator's state carries is not seen.
    """
    kept: list[NotebookNode] = []
    wanted: set[str] = set()
    for cell in reversed(cells):
        parts = statements(cell.source)
        if is_answer(cell) or is_check(cell) or _gives(parts, wanted):
            kept.insert(0, cell)
            wanted = reads_before(parts, wanted)
    return kept


def _gives(parts: Sequence[Statement], wanted: Iterable[str]) -> bool:
    """Whether the statements give a name that is read after them, before it is set anew."""
    open_names = set(wanted)
    for part in reversed(parts):
        if part.gives & open_names:
            return True
        open_names -= part.resets
    return False
