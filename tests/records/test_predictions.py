"""Predictions: what a reader guessed, beside what a lab computed."""

import math

import pytest

from labsupport.core.errors import LabError
from labsupport.records.predictions import Prediction, made_prediction, read_predictions
from labsupport.records.results import Results


@pytest.mark.parametrize(
    ("guess", "answer", "words"),
    [
        (None, 3, "no guess yet"),
        (3, 3, "exactly"),
        (6, 3, "2 times the answer"),
        (-1.5, -3, "0.5 times the answer"),
        (2, 0, "2 away"),
        (-1, 3, "-4 away"),
    ],
)
def test_a_guess_is_compared_in_words(guess, answer, words):
    assert made_prediction("How many?", guess, answer).distance == words


@pytest.mark.parametrize("guess", ["many", True, math.nan, math.inf, [3]])
def test_a_guess_that_is_no_number_is_refused(guess):
    with pytest.raises(LabError, match="is no number; write a number, or None"):
        made_prediction("How many?", guess, 3)


def test_html_and_text_say_the_same_and_are_escaped():
    prediction = made_prediction("Is $a < b$?", 2, 4)
    assert repr(prediction) == "Is $a < b$? 4 (guess 2)"
    html = prediction._repr_html_()
    assert '<td style="text-align:left">Is $a &lt; b$?</td>' in html
    assert [text in html for text in (">2<", ">4<", ">0.5 times the answer<")] == [True] * 3
    assert repr(made_prediction("Which?", None, 4)) == "Which? 4 (no guess yet)"


def test_predictions_come_back_from_disk_and_the_last_guess_counts(tmp_path):
    results = Results("01_lab", "quick", "mnist5k", tmp_path)
    results.prediction("First?", 1, 2)
    results.prediction("Second?", None, 0.5)
    results.prediction("First?", 3, 2)
    assert read_predictions(tmp_path) == {
        "01_lab": [Prediction("First?", 3.0, 2.0), Prediction("Second?", None, 0.5)]
    }


@pytest.mark.parametrize("text", ["question,guess\nx,1\n", "question,guess,answer\nx,1,many\n"])
def test_a_damaged_table_is_named(tmp_path, text):
    assert read_predictions(tmp_path) == {}
    table = tmp_path / "tables/01_lab/predictions.csv"
    table.parent.mkdir(parents=True)
    table.write_text(text)
    with pytest.raises(LabError, match=r"damaged predictions in .*01_lab"):
        read_predictions(tmp_path)
