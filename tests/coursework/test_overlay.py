import pytest
from made_coursework import NAME, made_lab, write_made_lab

from labsupport.core.errors import LabError
from labsupport.coursework.exercises import exercises_of
from labsupport.coursework.overlay import check_overlay, overlaid
from labsupport.coursework.release import release_lab, teachers_version


def test_a_teachers_cells_and_texts_replace_the_public_ones(tmp_path):
    (tmp_path / "area-t.py").write_text("assert area(1, 1) == 1\n")
    (tmp_path / "area.md").write_text("### Exercise 1: another area (2 points)\n")
    lab = made_lab()
    own = overlaid(lab, tmp_path)
    assert exercises_of(own)[0].title == "Exercise 1: another area"
    assert [cell.source for cell in own.cells].count("assert area(1, 1) == 1") == 1
    assert exercises_of(lab)[0].title == "Exercise 1: an area"


def test_without_a_folder_for_the_lab_nothing_changes(tmp_path):
    assert overlaid(made_lab(), tmp_path / "gone").cells[0].source == "# Made"


@pytest.mark.parametrize("name", ["perimeter.py", "area.txt", "area-t.md"])
def test_a_file_that_fits_no_cell_is_refused_with_the_names_there_are(tmp_path, name):
    (tmp_path / name).write_text("1")
    with pytest.raises(LabError, match=r"area-t|there is no text above"):
        overlaid(made_lab(), tmp_path)


def test_a_folder_of_no_lab_is_refused(tmp_path):
    (tmp_path / "99_gone").mkdir()
    with pytest.raises(LabError, match="99_gone"):
        check_overlay(tmp_path, [NAME])
    with pytest.raises(LabError, match="there is no folder"):
        check_overlay(tmp_path / "absent", [NAME])


def test_hidden_tests_of_a_teacher_stay_with_the_teacher(tmp_path):
    path, overlay = write_made_lab(tmp_path / "notebooks"), tmp_path / "mine"
    check = "assert area(1, 1) == 1\n### BEGIN HIDDEN TESTS\nassert area(5, 8) == 40\n"
    (overlay / NAME).mkdir(parents=True)
    (overlay / NAME / "area-t.py").write_text(check + "### END HIDDEN TESTS\n")
    text = release_lab(path, tmp_path / "out", tmp_path, overlay).notebook.read_text()
    assert "area(1, 1)" in text
    assert "area(5, 8)" not in text
    assert "area(7, unit)" not in text
    assert any("area(5, 8)" in cell.source for cell in teachers_version(path, overlay).cells)
