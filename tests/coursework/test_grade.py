"""A made lab of two exercises, graded for real: kernels, limits, files."""

import json
import os
import time

import nbformat
import pandas as pd
import psutil
import pytest
from made_coursework import NAME, RIGHT, answered, made_lab, write_made_lab
from nbformat.v4 import new_notebook

from labsupport.core.errors import LabError
from labsupport.coursework.course import Course, open_grading
from labsupport.coursework.processes import Limits
from labsupport.coursework.student import student_version
from labsupport.coursework.submissions import find_submissions, lab_of

pytestmark = pytest.mark.slow
LIMITS = Limits(cell_seconds=10, seconds=90, memory_bytes=2**29)
ANSWERS = {
    "right": RIGHT,
    "wrong": RIGHT | {"area": "def area(w, h): return 6"},
    "crash": RIGHT | {"slowest": "import os\nos._exit(1)"},
    "exit": RIGHT | {"slowest": "import sys\nsys.exit(0)"},
    "quit": RIGHT | {"slowest": "quit()"},
    "endless": RIGHT | {"area": "while True:\n    pass"},
    "stubborn": RIGHT
    | {
        "area": "while True:\n    try:\n        time.sleep(1)\n"
        "    except KeyboardInterrupt:\n        pass"
    },
    "hog": RIGHT | {"area": "x = []\nwhile True:\n    x.append(b'x' * 10**8)"},
    "chatty": RIGHT | {"area": RIGHT["area"] + "\nfor i in range(10**5):\n    print('x' * 99)"},
    "daemon": RIGHT
    | {
        "area": RIGHT["area"] + "\nimport subprocess, sys\n"
        "_ = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(61234)'],"
        " start_new_session=True)"
    },
    "warns": RIGHT
    | {"area": "import warnings\ndef area(w, h):\n    warnings.warn('x')\n    return w * h"},
    "no python": RIGHT | {"area": "def area(w, h) return w * h"},
    "=cmd|' C calc'!A0 <script>alert(1)<": RIGHT,
}
POINTS = {
    "right": (2, 3),
    "wrong": (0, 3),
    "crash": (2, 0),
    "exit": (2, 0),
    "quit": (2, 0),
    "endless": (0, 3),
    "stubborn": (0, 0),
    "hog": (0, 0),
    "chatty": (2, 3),
    "daemon": (2, 3),
    "warns": (2, 3),
    "no python": (0, 3),
    "=cmd|' C calc'!A0 <script>alert(1)<": (2, 3),
    "tampered": (0, 0),
    "cut": (0, 3),
    "garbage": (0, 0),
    "link": (0, 0),
    "another": (0, 0),
}


def submit(folder):
    student = student_version(made_lab())
    for name, answers in ANSWERS.items():
        nbformat.write(answered(student, answers, "2 + 4"), folder / f"{name}.ipynb")
    tampered = answered(student, {"area": "pass", "slowest": "pass", "area-t": "pass"})
    tampered.cells[-2].source = "pass"
    nbformat.write(tampered, folder / "tampered.ipynb")
    cut = answered(student, RIGHT)
    del cut.cells[7]
    nbformat.write(cut, folder / "cut.ipynb")
    nbformat.write(new_notebook(), folder / "another.ipynb")
    (folder / "garbage.ipynb").write_text('{"cells": [')
    (folder / "link.ipynb").symlink_to("/etc/hostname")
    (folder / ".ipynb_checkpoints").mkdir()
    (folder / ".ipynb_checkpoints" / "right.ipynb").write_text("")


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """The folder of a grading, what was told meanwhile, and the processes left."""
    folder = tmp_path_factory.mktemp("grading")
    path = write_made_lab(folder / "notebooks")
    (folder / "handed in").mkdir()
    submit(folder / "handed in")
    course = Course(path.parent, folder)
    told = []
    open_grading(course, folder / "handed in", None, LIMITS, 2)(folder / "out", told.append)
    left = [p for p in psutil.process_iter(["cmdline"]) if "61234" in str(p.info["cmdline"])]
    return folder / "out", told, left


def points(folder):
    table = pd.read_csv(folder / "points.csv").set_index("student")
    return {str(s).lstrip("'"): tuple(r) for s, r in table[["area-t", "slowest-t"]].iterrows()}


def page(folder, name):
    (path,) = (folder / "feedback").glob(f"*-{name}.html")
    return path.read_text()


def test_each_submission_gets_its_points_whatever_the_others_do(graded):
    folder, told, _ = graded
    assert points(folder) == POINTS
    assert [each.student for each in told] == sorted(POINTS)
    assert {each.student: each.points for each in told} == {n: sum(p) for n, p in POINTS.items()}


def test_nothing_that_a_submission_started_is_left_running(graded):
    assert graded[2] == []


def test_feedback_says_what_went_wrong(graded):
    folder = graded[0]
    assert "a hidden check failed (AssertionError)" in page(folder, "wrong")
    assert "took more than 10 seconds" in page(folder, "endless")
    assert "could not be stopped after 10 seconds" in page(folder, "stubborn")
    assert "used more than 0.5 GB of memory" in page(folder, "hog")
    assert "the kernel died" in page(folder, "crash")
    assert "SystemExit" in page(folder, "exit")
    assert "SyntaxError" in page(folder, "no_python")
    assert "this cell is missing" in page(folder, "cut")
    assert "is not a notebook" in page(folder, "garbage")
    assert "is no plain file" in page(folder, "link")
    assert "no answer cell of this lab" in page(folder, "another")
    assert "at `assert area(2, 3) == 6`: NameError" in page(folder, "tampered")


def test_no_page_tells_a_hidden_test_or_the_labs_solution(graded):
    for path in (graded[0] / "feedback").iterdir():
        text = path.read_text()
        assert "area(7, unit)" not in text
        assert "sorted(rows)" not in text


def test_predictions_are_scored_apart_from_the_points(graded):
    table = pd.read_csv(graded[0] / "predictions.csv").set_index("student").loc["right"]
    assert (table["guess"], table["answer"], table["nearness"]) == (6, 3, 0.5)
    assert "Nearness" in page(graded[0], "right")


def test_names_of_files_neither_leave_the_folder_nor_run_anywhere(graded):
    folder = graded[0]
    everything = {path.relative_to(folder).parts[0] for path in folder.rglob("*")}
    assert everything == {"points.csv", "predictions.csv", "feedback", "graded"}
    assert not [line for line in (folder / "points.csv").read_text().splitlines() if line[0] == "="]
    assert not [p for p in (folder / "feedback").iterdir() if "<script" in p.read_text()]


def test_outputs_that_never_end_are_cut(graded):
    (path,) = (graded[0] / "graded").glob("*-chatty.ipynb")
    assert path.stat().st_size < 300_000


def test_a_lab_whose_own_solution_fails_is_not_graded(tmp_path):
    lab = made_lab()
    lab.cells[8].source = "assert area(2, 3) == 7"
    path = write_made_lab(tmp_path / "notebooks")
    nbformat.write(lab, path)
    (tmp_path / "in").mkdir()
    nbformat.write(answered(student_version(lab), RIGHT), tmp_path / "in" / "a.ipynb")
    grading = open_grading(Course(path.parent, tmp_path), tmp_path / "in", "1", LIMITS, 1)
    with pytest.raises(LabError, match=r"area\(2, 3\) == 7"):
        grading(tmp_path / "out", print)
    assert not (tmp_path / "out").exists()


def test_what_the_lab_trained_is_there_for_each_submission_and_none_changes_it(tmp_path):
    lab = made_lab()
    train = (
        "from pathlib import Path\nfile = Path(out) / 'cache' / 'net'\n"
        "file.parent.mkdir(parents=True, exist_ok=True)\n"
        "unit = int(file.read_text()) if file.exists() else 1\nfile.write_text('1')"
    )
    lab.cells[4].source += "\n" + train
    path = write_made_lab(tmp_path / "notebooks")
    nbformat.write(lab, path)
    (tmp_path / "in").mkdir()
    spoiled = RIGHT | {"slowest": RIGHT["slowest"] + "\nfile.write_text('5')"}
    for name, answers in {"a": spoiled, "b": RIGHT}.items():
        nbformat.write(answered(student_version(lab), answers), tmp_path / "in" / f"{name}.ipynb")
    grading = open_grading(Course(path.parent, tmp_path), tmp_path / "in", None, LIMITS, 1)
    (tmp_path / "out" / "feedback").mkdir(parents=True)
    (tmp_path / "out" / "feedback" / "003-stale.html").write_text("of an earlier grading")
    assert grading(tmp_path / "out", lambda graded: None)["points"].tolist() == [5, 5]
    assert len(list((tmp_path / "out" / "feedback").iterdir())) == 2


def test_students_go_by_their_file_or_their_folder(tmp_path):
    for name in ("ann.ipynb", "bob/lab/x.ipynb", "cy/x.ipynb", "cy/y.ipynb", "__MACOSX/z.ipynb"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    os.mkfifo(tmp_path / "pipe.ipynb")
    students = [each.student for each in find_submissions(tmp_path)]
    assert students == ["ann", "bob", "cy/x", "cy/y", "pipe"]


def test_the_lab_is_told_from_the_exercises_whatever_the_files_are_called(tmp_path):
    nbformat.write(student_version(made_lab()), tmp_path / "a.ipynb")
    (tmp_path / "b.ipynb").write_text(json.dumps({"nbformat": 4, "cells": 3}))
    submissions = find_submissions(tmp_path)
    assert lab_of(submissions, {"00_x": {"other"}, NAME: {"area", "area-t"}}) == NAME
    with pytest.raises(LabError, match="--lab"):
        lab_of(submissions, {"00_x": {"other"}})


def test_a_folder_without_notebooks_is_refused(tmp_path):
    with pytest.raises(LabError, match="no notebook"):
        find_submissions(tmp_path)


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    from labsupport.coursework.submissions import MOST_BYTES, read_submission

    with (tmp_path / "a.ipynb").open("wb") as file:
        file.truncate(MOST_BYTES + 1)
    began = time.monotonic()
    with pytest.raises(LabError, match="larger than"):
        read_submission(tmp_path / "a.ipynb")
    assert time.monotonic() - began < 5
