from __future__ import annotations

import signal
import subprocess
import sys

import nbformat
import pandas as pd
import psutil
import pytest
from made_coursework import NAME, RIGHT, answered, made_lab, write_made_lab
from typer.testing import CliRunner

from labsupport.app import cli
from labsupport.coursework.student import student_version


@pytest.fixture
def notebooks(tmp_path):
    return write_made_lab(tmp_path / "notebooks").parent


def call(*arguments):
    return CliRunner().invoke(cli.app, ["course", *map(str, arguments)])


def test_release_writes_the_labs_that_are_named_or_all(notebooks, tmp_path):
    for labs in (["1"], [NAME], []):
        result = call("release", *labs, "--to", tmp_path / "out", "--notebooks", notebooks)
        assert result.exit_code == 0, result.output
        assert result.output.splitlines() == [str(tmp_path / "out" / f"{NAME}.zip")]


@pytest.mark.parametrize(
    ("arguments", "status", "named"),
    [
        (["release", "7"], 2, f"labs are: {NAME}"),
        (["release", "--overlay", "gone"], 2, "there is no folder gone"),
        (["grade", "gone"], 2, "no notebook in gone"),
        (["grade", "notebooks", "--lab", "7"], 2, f"labs are: {NAME}"),
        (["grade", "notebooks", "--overlay", "gone"], 2, "there is no folder gone"),
    ],
)
def test_a_wrong_call_ends_in_one_line_and_writes_nothing(
    notebooks, tmp_path, monkeypatch, arguments, status, named
):
    monkeypatch.chdir(tmp_path)
    result = call(*arguments, "--to", "out", "--notebooks", notebooks)
    assert result.exit_code == status
    assert named in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_lab_that_would_leak_ends_with_status_1(notebooks, tmp_path):
    lab = made_lab()
    lab.cells[7].metadata["tags"] = ["product = width * height"]
    nbformat.write(lab, notebooks / f"{NAME}.ipynb")
    result = call("release", "--to", tmp_path / "out", "--notebooks", notebooks)
    assert result.exit_code == 1
    assert "product = width * height" in result.stderr


def test_without_nbgrader_it_says_what_to_install(notebooks, tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("labsupport.coursework")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "nbgrader.preprocessors", None)
    result = call("release", "--to", tmp_path / "out", "--notebooks", notebooks)
    assert result.exit_code == 2
    assert "[course]" in result.stderr


@pytest.mark.slow
def test_grade_shows_each_submission_and_where_the_points_are(notebooks, tmp_path):
    (tmp_path / "in").mkdir()
    student = student_version(made_lab())
    nbformat.write(answered(student, RIGHT), tmp_path / "in" / "ann.ipynb")
    nbformat.write(student, tmp_path / "in" / "bob\x1b[31m.ipynb")
    limits = ("--cell-seconds", 20, "--memory", 1, "--jobs", 1)
    result = call(
        "grade", tmp_path / "in", "--to", tmp_path / "out", "--notebooks", notebooks, *limits
    )
    assert result.exit_code == 0, result.output
    first, ann, bob, last = result.output.splitlines()
    assert first == f"{NAME}: 2 submissions"
    assert (ann, bob) == ("ann: 5 points", "bob?[31m: 0 points")
    assert pd.read_csv(last)["points"].tolist() == [5, 0]


@pytest.mark.slow
def test_ctrl_c_ends_it_at_once_and_leaves_no_kernel(notebooks, tmp_path):
    (tmp_path / "in").mkdir()
    endless = RIGHT | {"area": "while True:\n    pass"}
    student = student_version(made_lab())
    nbformat.write(student, tmp_path / "in" / "ann.ipynb")
    nbformat.write(answered(student, endless), tmp_path / "in" / "bob.ipynb")
    code = "from labsupport.app.cli import main; main()"
    arguments = ["grade", tmp_path / "in", "--to", tmp_path / "out", "--notebooks", notebooks]
    command = [sys.executable, "-c", code, "course", *map(str, arguments), "--jobs", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as grading:
        assert grading.stdout
        lines = [grading.stdout.readline() for _ in range(2)]
        assert lines[1].startswith("ann")
        kernels = psutil.Process(grading.pid).children(recursive=True)
        grading.send_signal(signal.SIGINT)
        assert grading.wait(30) == 130
    assert not [kernel for kernel in kernels if kernel.is_running()]
    assert not (tmp_path / "out").exists()
