import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_coursework import made_lab
from nbformat.v4 import new_markdown_cell, new_output

from labsupport.coursework.leaks import leaks, secret_lines
from labsupport.coursework.student import student_version


def leak_line(student):
    student.cells[2].source += "\n# product=width * height"


def leak_hidden_test(student):
    student.cells.append(new_markdown_cell("Note that `assert area(7, unit) == 7`."))


def leak_rubric(student):
    student.cells[0].source += "\n- One point: it is the triangle."


def leak_mark(student):
    student.cells[4].source += "\n### END SOLUTION"


def leak_output(student):
    student.cells[4].outputs = [new_output("stream", text="secret")]


def leak_metadata(student):
    student.cells[4].metadata["papermill"] = {"source": "return sorted(rows)[-1]"}


def leak_notebook_metadata(student):
    student.metadata["history"] = ["secret"]


def leak_attachment(student):
    student.cells[0]["attachments"] = {"a": {"text/plain": "return sorted(rows)[-1]"}}


def drop_an_exercise(student):
    del student.cells[-2]


def test_a_student_version_is_clean():
    assert leaks(made_lab(), student_version(made_lab())) == []


@pytest.mark.parametrize(
    ("leak", "named"),
    [
        (leak_line, "line 'product = width * height'"),
        (leak_hidden_test, "line 'assert area(7, unit) == 7'"),
        (leak_rubric, "line '- One point: it is the triangle.'"),
        (leak_mark, "mark 'END SOLUTION'"),
        (leak_output, "output of cell 4"),
        (leak_metadata, "metadata 'papermill' of cell 4"),
        (leak_notebook_metadata, "metadata 'history' of the notebook"),
        (leak_attachment, "line 'return sorted(rows)[-1]'"),
        (drop_an_exercise, "other exercises than the lab"),
    ],
)
def test_each_way_to_leak_is_found(leak, named):
    student = student_version(made_lab())
    leak(student)
    assert named in leaks(made_lab(), student)


def test_what_the_lab_shows_elsewhere_is_no_secret():
    lab = made_lab()
    lab.cells[0].source += "\nOne multiplies: `product = width * height`."
    assert "product = width * height" not in secret_lines(lab)
    assert leaks(lab, student_version(lab)) == []


@given(st.data())
def test_any_secret_line_is_found_anywhere_in_any_spacing(data):
    lab, student = made_lab(), student_version(made_lab())
    line = data.draw(st.sampled_from(sorted(secret_lines(lab))))
    cell = data.draw(st.sampled_from(student.cells))
    cell.source += "\n" + line.replace(" ", data.draw(st.sampled_from(["", " ", "   "])))
    assert any(line in found for found in leaks(lab, student))


def test_every_lab_of_the_course_makes_a_clean_student_version(request):
    for path in sorted((request.config.rootpath / "notebooks").glob("*.ipynb")):
        lab = nbformat.read(path, as_version=4)
        assert leaks(lab, student_version(lab)) == [], path.stem
