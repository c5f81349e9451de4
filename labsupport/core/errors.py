"""The one error of the labs: it says what is wrong and what to do about it."""

from __future__ import annotations


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
