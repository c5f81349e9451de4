"""What a teacher opens, a spreadsheet or a page, runs nothing that a student has put in."""

import csv
from html.parser import HTMLParser

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labsupport.coursework.exercises import Exercise
from labsupport.coursework.feedback import feedback_page, file_stem
from labsupport.coursework.grade import Graded
from labsupport.coursework.guesses import Guess
from labsupport.coursework.marks import Mark
from labsupport.coursework.tables import guesses_table, harmless, in_utf8, points_table
from labsupport.records.tables import write_table

NASTY = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</code></pre><iframe src='//x'>",
    "=cmd|' /C calc'!A0",
    '=HYPERLINK("http://x","y")',
    "+1+1",
    "-2",
    "@SUM(A1)",
    "\t=1+1",
    " =1+1",
    "../../etc/passwd",
    "..\\..\\x",
    "a\nb",
    "\udcff",
    "{{ 7 * 7 }}",
    "\u202egnp.exe",
]
EXERCISE = Exercise("area-t", "Exercise 1", 2)


def graded(text):
    """A submission with the same text wherever a student can put one."""
    mark = Mark(EXERCISE, 1.0, text, (f"your answer failed: {text}: {text}",))
    return Graded(text, [mark], [Guess(text, 1.0, 2.0)], problem=text)


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.seen = []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, sorted(name for name, _ in attrs)))


def tags(page):
    parser = Tags()
    parser.feed(page)
    return parser.seen


@pytest.mark.parametrize("text", NASTY)
def test_a_page_has_the_same_tags_whatever_a_student_writes(text):
    page = feedback_page(text, graded(text), [EXERCISE])
    assert tags(page) == tags(feedback_page("x", graded("x"), [EXERCISE]))
    assert "49" not in page
    assert "default-src 'none'" in page


@pytest.mark.parametrize("text", NASTY)
def test_no_cell_of_a_table_starts_a_formula(tmp_path, text):
    exercise = Exercise(text, text, 2)
    one = Graded(text, [Mark(exercise, 1.0, text)], [Guess(text, -1.0, 2.0)], problem=text)
    for table in (points_table([one], [exercise]), guesses_table([one])):
        write_table(tmp_path / "t.csv", table)
        with (tmp_path / "t.csv").open(encoding="utf-8", newline="") as file:
            cells = [cell for row in csv.reader(file) for cell in row]
        assert not [c for c in cells if c.strip()[:1] in tuple("=+@|%")]
        assert not [c for c in cells if c.strip().startswith("-") and not is_number(c)]


def is_number(text):
    try:
        return bool(float(text)) or True
    except ValueError:
        return False


def test_numbers_stay_numbers():
    assert harmless(pd.DataFrame({"x": [-1.5]}))["x"].tolist() == [-1.5]


@given(st.text())
def test_the_name_of_a_file_is_a_plain_name_in_one_folder(name):
    stem = file_stem(7, in_utf8(name))
    assert stem.startswith("007")
    assert not set(stem) & set("./\\:\0\n ")
    assert len(stem) <= 64


@pytest.mark.parametrize("text", NASTY)
def test_submissions_of_one_name_still_have_files_of_their_own(text):
    assert file_stem(1, text) != file_stem(2, text)
