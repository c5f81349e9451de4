"""Predictions: what a reader guessed before a lab computed it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from pathlib import Path

import pandas as pd

from labsupport.core.errors import LabError
from labsupport.records.claims import number
from labsupport.records.tables import read_table

PREDICTIONS = "predictions"
TITLES = ("question", "your guess", "answer", "how far")


@dataclass(frozen=True)
class Prediction:
    """A question, the reader's guess (None: not made yet), and the answer in the same unit."""

    question: str
    guess: float | None
    answer: float

    @property
    def distance(self) -> str:
        """How the guess compares, in words: as a ratio where both numbers have the same sign."""
        if self.guess is None:
            return "no guess yet"
        if self.guess == self.answer:
            return "exactly"
        if self.guess * self.answer > 0:
            return f"{number(self.guess / self.answer)} times the answer"
        return f"{number(self.guess - self.answer)} away"

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """The texts of a row: question, guess, answer, how far."""
        return self.question, number(self.guess), number(self.answer), self.distance

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{title}</th>" for title in TITLES)
        row = "".join(f'<td style="text-align:left">{escape(cell)}</td>' for cell in self.cells)
        return f"<table><thead><tr>{head}</tr></thead><tbody><tr>{row}</tr></tbody></table>"

    def __repr__(self) -> str:
        guess = "no guess yet" if self.guess is None else f"guess {number(self.guess)}"
        return f"{self.question} {number(self.answer)} ({guess})"


def made_prediction(question: str, guess: float | None, answer: float) -> Prediction:
    """The prediction of a cell. Raises LabError for a guess that is no finite number."""
    if guess is not None and (isinstance(guess, str | bool) or not _is_finite(guess)):
        raise LabError(f"the guess {guess!r} is no number", "write a number, or None for no guess")
    return Prediction(question, None if guess is None else float(guess), float(answer))


def prediction_frame(predictions: list[Prediction]) -> pd.DataFrame:
    """Predictions as rows: question, guess, answer."""
    return pd.DataFrame(
        [vars(each) for each in predictions], columns=["question", "guess", "answer"]
    )


def read_predictions(out: Path) -> dict[str, list[Prediction]]:
    """The predictions of a run's folder by lab. Raises LabError for a damaged table."""
    paths = sorted((out / "tables").glob(f"*/{PREDICTIONS}.csv"))
    return {path.parent.name: _predictions(path) for path in paths}


def _predictions(path: Path) -> list[Prediction]:
    try:
        rows = read_table(path).astype({"guess": float, "answer": float}).to_dict("records")
        return [
            Prediction(str(row["question"]), _known(row["guess"]), row["answer"]) for row in rows
        ]
    except (KeyError, ValueError) as error:
        raise LabError(f"damaged predictions in {path}: {error}", "run the lab again") from error


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except TypeError:
        return False
