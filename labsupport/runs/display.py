"""What a user sees while labs run and when they have: live on a terminal, plain lines elsewhere."""

from __future__ import annotations

from contextlib import AbstractContextManager
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from labsupport.runs.record import LabRecord


class Display(AbstractContextManager["Display"]):
    """Running labs with cell and seconds (on a terminal), and a line for each lab that ends."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._tasks: dict[str, TaskID] = {}
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("cells"),
            TimeElapsedColumn(),
            console=console,
            refresh_per_second=2,  # drawing costs time that the labs measure
            transient=True,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> Display:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def started(self, lab: str) -> None:
        """A lab starts."""
        self._tasks[lab] = self._progress.add_task(lab, total=None)
        if not self._console.is_terminal:
            self.line(f"{lab}: running")

    def cell(self, lab: str, cell: int, cells: int) -> None:
        """A cell of a lab starts, so those before it are complete."""
        self._progress.update(self._tasks[lab], completed=cell - 1, total=cells)

    def ended(self, lab: str, record: LabRecord) -> None:
        """A lab has ended, or will not run."""
        if lab in self._tasks:
            self._progress.remove_task(self._tasks.pop(lab))
        self.line(outcome_line(lab, record))

    def line(self, text: str) -> None:
        """A line that stays."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def outcome_line(lab: str, record: LabRecord) -> str:
    """How a lab fared, in one line: status, seconds, and for a failed one cell and error."""
    seconds = "" if record.seconds is None else f" in {record.seconds:.1f} s"
    where = "" if record.cell is None else f"cell {record.cell}: "
    error = f" - {where}{record.error}" if record.error else ""
    return f"{lab}: {record.status}{seconds}{error}"
