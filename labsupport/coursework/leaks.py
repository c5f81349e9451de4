"""What of a lab's answers is left in its student version."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import nbformat
from nbformat import NotebookNode

from labsupport.coursework.exercises import exercises_of
from labsupport.coursework.student import KEPT, KEPT_OF_NOTEBOOK, RUBRIC

REGION = re.compile(
    r"^[^\n]*BEGIN (SOLUTION|HIDDEN TESTS|MARK SCHEME)(.*?)END \1[^\n]*$", re.DOTALL | re.MULTILINE
)
MARKS = ("BEGIN SOLUTION", "END SOLUTION", "HIDDEN TESTS", "MARK SCHEME", "<summary>Rubric")
TELLING = 5  # characters without spaces that a line needs to give something away


def leaks(lab: NotebookNode, student: NotebookNode) -> list[str]:
    """What a student version gives away of its lab, in words; empty if it is clean.

    Lines of solutions, hidden tests and rubrics are looked for everywhere, in attachments and
    metadata too. A line that the lab shows elsewhere is no secret, nor is a very short one.
    """
    return [
        *(f"mark {mark!r}" for mark in MARKS if mark in _all_text(student)),
        *(f"line {line!r}" for line in _found(secret_lines(lab), student)),
        *_remains(student),
        *_changes(lab, student),
    ]


def secret_lines(lab: NotebookNode) -> set[str]:
    """The lines that stand in solutions, hidden tests and rubrics, and nowhere else."""
    sources = [cell.source for cell in lab.cells]
    hidden = [match[0] for text in sources for match in REGION.finditer(text)]
    hidden += [match for text in sources for match in RUBRIC.findall(text)]
    shown = _squeezed("".join(_without_answers(cell.source) for cell in lab.cells))
    lines = (line for line in _lines("\n".join(hidden)) if not any(mark in line for mark in MARKS))
    return {line for line in lines if _squeezed(line) not in shown}


def _without_answers(source: str) -> str:
    return RUBRIC.sub("", REGION.sub("", source))


def _lines(text: str) -> Iterator[str]:
    """The lines of a text that say enough to be told apart, without indentation."""
    lines = (line.strip() for line in text.splitlines())
    return (line for line in lines if len(_squeezed(line)) >= TELLING)


def _found(secrets: Iterable[str], student: NotebookNode) -> list[str]:
    texts = [_squeezed(text) for text in _strings(student)]
    return sorted(line for line in secrets if any(_squeezed(line) in text for text in texts))


def _squeezed(text: str) -> str:
    return re.sub(r"\s", "", text)


def _strings(thing: object) -> Iterator[str]:
    """Every text in a notebook, wherever it stands, names of metadata included."""
    if isinstance(thing, str):
        yield thing
    elif isinstance(thing, dict):
        for name, value in thing.items():
            yield from (name, *_strings(value))
    elif isinstance(thing, list):
        for value in thing:
            yield from _strings(value)


def _all_text(notebook: NotebookNode) -> str:
    return nbformat.writes(notebook)  # type: ignore[no-untyped-call,no-any-return]


def _remains(student: NotebookNode) -> Iterator[str]:
    """Outputs, attachments and metadata that have no place in what is handed out."""
    for name in set(student.metadata) - set(KEPT_OF_NOTEBOOK):
        yield f"metadata {name!r} of the notebook"
    for index, cell in enumerate(student.cells):
        if cell.get("outputs") or cell.get("execution_count"):
            yield f"output of cell {index}"
        for name in set(cell.metadata) - set(KEPT):
            yield f"metadata {name!r} of cell {index}"


def _changes(lab: NotebookNode, student: NotebookNode) -> Iterator[str]:
    if exercises_of(lab) != exercises_of(student):
        yield "other exercises than the lab"
