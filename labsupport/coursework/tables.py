"""Tables of points and of guesses that a spreadsheet opens without running anything."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from labsupport.coursework.exercises import Exercise
from labsupport.coursework.grade import Graded

FORMULA = ("=", "+", "-", "@", "|", "%")  # what a spreadsheet may take for one


def points_table(graded: Sequence[Graded], exercises: Sequence[Exercise]) -> pd.DataFrame:
    """A row for each submission: student, points by exercise, their sum, and what was wrong."""
    rows = []
    for each in graded:
        points = {mark.exercise.name: mark.points for mark in each.marks}
        own = {exercise.name: points.get(exercise.name, 0.0) for exercise in exercises}
        about = {"points": each.points, "of": sum(e.points for e in exercises)}
        rows.append({"student": each.student, **own, **about, "problem": each.problem})
    return harmless(pd.DataFrame(rows))


def guesses_table(graded: Sequence[Graded]) -> pd.DataFrame:
    """A row for each student and question: guess, answer, and how near, from 0 to 1."""
    columns = ["student", "question", "guess", "answer", "nearness"]
    rows = [
        (each.student, guess.question, guess.guess, guess.answer, round(guess.nearness, 3))
        for each in graded
        for guess in each.guesses
    ]
    return harmless(pd.DataFrame(rows, columns=columns))


def harmless(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with an apostrophe before every text that a spreadsheet would take for a formula.

    Names of columns count as texts; numbers stay as they are.
    """
    return frame.map(_harmless).rename(columns=_harmless)


def in_utf8(text: str) -> str:
    """A text with what UTF-8 cannot hold, as names of files may have it, replaced."""
    return text.encode("utf-8", "replace").decode()


def _harmless(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = in_utf8(value)
    return f"'{text}" if text.lstrip().startswith(FORMULA) or text[:1].isspace() else text
