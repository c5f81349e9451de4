"""A page of feedback for each student, which runs nothing and loads nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined

from labsupport.coursework.exercises import Exercise
from labsupport.coursework.grade import Graded
from labsupport.records.claims import number

PAGES = Environment(
    loader=PackageLoader("labsupport.coursework"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
PAGES.filters["number"] = number
LONGEST = 60  # characters of a student's name in the name of a file


def feedback_page(title: str, graded: Graded, exercises: Sequence[Exercise]) -> str:
    """The page of one submission: points, code and problems by exercise, then the guesses."""
    possible = sum(exercise.points for exercise in exercises)
    page = PAGES.get_template("feedback.html")
    return page.render(title=title, graded=graded, possible=possible)


def file_stem(place: int, student: str) -> str:
    """The name of a submission's files: its place, and letters and digits of the student's name."""
    name = re.sub(r"[^\w-]+", "_", student)[:LONGEST].strip("_")
    return f"{place:03}-{name}".rstrip("-")
