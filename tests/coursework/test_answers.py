from made_coursework import RIGHT, answered, made_lab
from nbformat.v4 import new_code_cell

from labsupport.coursework.answers import MISSING, with_answers
from labsupport.coursework.student import student_version

LAB = made_lab()
STUDENT = student_version(LAB)


def sources(submission):
    return [cell.source for cell in with_answers(LAB, submission).cells]


def index(notebook, name):
    names = [cell.metadata.get("nbgrader", {}).get("grade_id") for cell in notebook.cells]
    return names.index(name)


def test_answers_stand_between_the_labs_own_cells_and_checks():
    found = sources(answered(STUDENT, RIGHT))
    assert found == [
        LAB.cells[4].source,
        RIGHT["area"],
        LAB.cells[8].source,
        RIGHT["slowest"],
        LAB.cells[11].source,
    ]


def test_changed_and_deleted_checks_and_cells_of_the_lab_are_as_they_were():
    tampered = answered(STUDENT, RIGHT)
    tampered.cells[index(tampered, "area-t")].source = "pass"
    tampered.cells[4].source = "clocked = [0.0]"
    del tampered.cells[index(tampered, "slowest-t")]
    assert sources(tampered) == sources(answered(STUDENT, RIGHT))


def test_points_and_marks_of_a_submission_do_not_count():
    tampered = answered(STUDENT, RIGHT)
    tampered.cells[index(tampered, "area-t")].metadata["nbgrader"]["points"] = 100
    tampered.cells[index(tampered, "area")].metadata["nbgrader"]["grade"] = True
    cells = with_answers(LAB, tampered).cells
    assert [c.metadata.nbgrader.get("points") for c in cells[1:]] == [None, 2, None, 3]
    assert cells[1].metadata.nbgrader.grade is False


def test_a_missing_answer_never_becomes_the_labs_own():
    cut = answered(STUDENT, RIGHT)
    del cut.cells[index(cut, "area")]
    assert MISSING in sources(cut)
    assert not any("product" in source for source in sources(cut))


def test_of_two_answers_with_one_name_the_last_counts():
    twice = answered(STUDENT, RIGHT)
    about = dict(twice.cells[index(twice, "area")].metadata)
    twice.cells.append(new_code_cell("def area(w, h): return 0", metadata=about))
    assert "def area(w, h): return 0" in sources(twice)


def test_of_cells_that_were_added_those_that_an_answer_reads_go_along():
    helped = answered(STUDENT, RIGHT | {"area": "def area(w, h):\n    return times(w, h)"})
    place = index(helped, "area")
    helped.cells.insert(place, new_code_cell("def times(a, b):\n    return a * b"))
    helped.cells.insert(place, new_code_cell("print('an experiment')"))
    found = sources(helped)
    assert found.index("def times(a, b):\n    return a * b") + 1 == found.index(
        "def area(w, h):\n    return times(w, h)"
    )
    assert "print('an experiment')" not in found


def test_ids_that_another_editor_dropped_do_not_make_cells_of_the_lab_the_students():
    without = answered(STUDENT, RIGHT)
    for cell in without.cells:
        cell.pop("id")
    assert sources(without) == sources(answered(STUDENT, RIGHT))


def test_nonsense_in_the_metadata_is_no_answer():
    odd = answered(STUDENT, RIGHT)
    odd.cells[0].metadata["nbgrader"] = "x"
    odd.cells[2].metadata["nbgrader"] = ["area"]
    assert sources(odd) == sources(answered(STUDENT, RIGHT))
