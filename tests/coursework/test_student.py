from made_coursework import RUBRIC, made_lab
from nbgrader.nbgraderformat import MetadataValidator

from labsupport.coursework.exercises import exercises_of, is_check
from labsupport.coursework.student import student_version


def sources(notebook):
    return "\n".join(cell.source for cell in notebook.cells)


def test_answers_are_stubs_hidden_tests_are_gone_and_visible_ones_stay():
    text = sources(student_version(made_lab()))
    assert text.count("raise NotImplementedError()") == 2
    assert "product = width * height" not in text
    assert "area(7, unit)" not in text
    assert "assert area(2, 3) == 6" in text
    assert '"""The area of a rectangle."""' in text


def test_rubrics_give_way_to_a_place_for_the_answer():
    text = sources(student_version(made_lab()))
    assert RUBRIC not in text
    assert "Your answer" in text


def test_it_is_unfolded_without_outputs_and_bears_only_what_nbgrader_needs():
    student = student_version(made_lab())
    MetadataValidator().validate_nb(student)
    assert set(student.metadata) == {"labs"}
    for cell in student.cells:
        assert "jupyter" not in cell.metadata
        assert "hide-input" not in cell.metadata.get("tags", [])
        assert not cell.get("outputs")
    assert all(cell.metadata.editable is False for cell in student.cells if is_check(cell))


def test_the_lab_is_left_as_it_was_and_the_exercises_are_the_same():
    lab = made_lab()
    before = sources(lab)
    student = student_version(lab)
    assert sources(lab) == before
    assert exercises_of(student) == exercises_of(lab)
    titles = [exercise.title for exercise in exercises_of(lab)]
    assert titles == ["Exercise 1: an area", "Exercise 2: the slowest"]
