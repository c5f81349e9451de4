"""CSV that is safe to open: no cell that a spreadsheet would take for a formula and compute.

An apostrophe before such a text says that it is one. `revealed` takes away what `guarded` adds.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable

# A text that begins like a formula and has something to compute; "==" alone has nothing.
FORMULA = re.compile(r"'*\s*[=+\-@\uff1d\uff0b\uff0d\uff20].*\w", re.DOTALL)
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|nan)", re.IGNORECASE)


def guarded(text: str) -> str:
    """CSV with an apostrophe before each cell that a spreadsheet would compute."""
    return _changed(text, lambda cell: f"'{cell}" if _is_formula(cell) else cell)


def revealed(text: str) -> str:
    """CSV as it was before `guarded`."""
    return _changed(text, lambda cell: cell[1:] if cell[:1] == "'" and _is_formula(cell) else cell)


def _is_formula(cell: str) -> bool:
    return bool(FORMULA.match(cell)) and not NUMBER.fullmatch(cell)


def _changed(text: str, change: Callable[[str], str]) -> str:
    """CSV with every cell changed. Raises ValueError for what is no CSV."""
    changed = io.StringIO()
    try:
        rows = ([change(cell) for cell in row] for row in csv.reader(io.StringIO(text, newline="")))
        csv.writer(changed, lineterminator="\n").writerows(rows)
    except csv.Error as error:
        raise ValueError(str(error)) from error
    return changed.getvalue()
