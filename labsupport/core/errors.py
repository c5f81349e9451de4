"""The one error of the labs: it says what is wrong and what to do about it."""

from __future__ import annotations

LINE_LENGTH = 300


class LabError(Exception):
    """A mistake or a missing thing that a user can put right.

    `problem` says what is wrong, `remedy` what to do. A notebook shows it as one line, without
    a stack trace; the command line prints the same line.
    """

    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(problem, remedy)
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        return "; ".join(part.rstrip(".") for part in (self.problem, self.remedy) if part) + "."

    def _render_traceback_(self) -> list[str]:
        """What IPython prints in place of the stack (IPython's own hook for exceptions)."""
        return [f"LabError: {self}"]


def one_line(kind: str, text: str) -> str:
    """An error of a kind, with what it says, as one line of at most LINE_LENGTH characters."""
    line = " ".join((f"{kind}: {text}" if text else kind).split())
    return line if len(line) <= LINE_LENGTH else line[: LINE_LENGTH - 3] + "..."


def summarize(error: BaseException) -> str:
    """An error as one line."""
    return one_line(type(error).__name__, str(error))
