"""What a user sees of a run: live on a terminal, plain lines elsewhere."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TimeElapsedColumn

from labsupport.runs.record import LabRecord


class Display:
    """Running labs with cell and seconds (within `live`, on a terminal), and a line at each end."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._tasks: dict[str, TaskID] = {}
        self.live = Progress(
            *("{task.description}", BarColumn(bar_width=20), MofNCompleteColumn(), "cells"),
            TimeElapsedColumn(),
            console=console,
            refresh_per_second=2,  # drawing costs time that the labs measure
            transient=True,
            disable=not console.is_terminal,
        )

    def started(self, lab: str) -> None:
        """A lab starts."""
        self._tasks[lab] = self.live.add_task(lab, total=None)
        if not self._console.is_terminal:
            self.line(f"{lab}: running")

    def cell(self, lab: str, cell: int, cells: int) -> None:
        """A cell of a lab starts, so those before it are complete."""
        self.live.update(self._tasks[lab], completed=cell - 1, total=cells)

    def ended(self, lab: str, record: LabRecord) -> None:
        """A lab has ended, or will not run."""
        if lab in self._tasks:
            self.live.remove_task(self._tasks.pop(lab))
        self.line(outcome_line(lab, record))

    def line(self, text: str) -> None:
        """A line that stays."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def outcome_line(lab: str, record: LabRecord) -> str:
    """How a lab ended, in one line: status, seconds, and for a failed one cell and error."""
    seconds = "" if record.seconds is None else f" in {record.seconds:.1f} s"
    where = "" if record.cell is None else f"cell {record.cell}: "
    error = f" - {where}{record.error}" if record.error else ""
    return f"{lab}: {record.status}{seconds}{error}"
