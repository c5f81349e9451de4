import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_coursework import answered, made_lab
from nbformat.v4 import new_code_cell, new_notebook

from labsupport.coursework.guesses import Guess, guesses_of, shown_answers
from labsupport.coursework.student import student_version

LAB = made_lab()
SIZES = st.floats(1e-6, 1e6)


@pytest.mark.parametrize(
    ("written", "guess"),
    [
        ("3", 3.0),
        ("-1.5", -1.5),
        ("2 * (1 + 0.5)", 3.0),
        ("9 ** 0.5", 3.0),
        ("None", None),
        ("'3'", None),
        ("True", None),
        ("1 / 0", None),
        ("1e999", None),
        ("10.0 ** 1000", None),
        ("open('x').read()", None),
        ("[3]", None),
    ],
)
def test_a_guess_is_read_without_being_executed(written, guess):
    (found,) = guesses_of(LAB, answered(student_version(LAB), {}, written))
    assert found == Guess("Sides of a square of area 9?", guess, 3.0)


def test_an_unreadable_notebook_gives_no_guess():
    odd = new_notebook(cells=[new_code_cell("guess_side = ("), new_code_cell("guess_side += 1")])
    assert guesses_of(LAB, odd)[0].guess is None


@given(SIZES, SIZES)
def test_nearness_is_one_for_the_answer_symmetric_and_between(guess, answer):
    near = Guess("?", guess, answer).nearness
    assert 0 < near <= 1
    assert near == Guess("?", answer, guess).nearness
    assert Guess("?", answer, answer).nearness == 1
    assert Guess("?", -guess, answer).nearness == Guess("?", None, answer).nearness == 0


def test_every_question_of_the_course_has_its_answer_in_the_committed_notebook(request):
    import nbformat

    for path in sorted((request.config.rootpath / "notebooks").glob("*.ipynb")):
        lab = nbformat.read(path, as_version=4)
        code = "\n".join(cell.source for cell in lab.cells if cell.cell_type == "code")
        assert len(shown_answers(lab)) == code.count("results.prediction("), path.stem
