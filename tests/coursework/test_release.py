import zipfile

import nbformat
import pytest
from made_coursework import NAME, made_lab, write_made_lab

from labsupport.core.errors import LabError
from labsupport.coursework.release import TOP, release_lab


@pytest.fixture
def course(tmp_path):
    root = tmp_path / "course"
    write_made_lab(root / "notebooks")
    (root / "environment.yml").write_text("name: labs\n")
    (root / "notebooks" / "claims.yaml").write_text("{}\n")
    (root / "labsupport" / "__pycache__").mkdir(parents=True)
    (root / "labsupport" / "__init__.py").write_text("")
    (root / "labsupport" / "__pycache__" / "x.pyc").write_text("")
    return root


def released(course, folder):
    return release_lab(course / "notebooks" / f"{NAME}.ipynb", folder, course)


def test_the_archive_holds_the_notebook_the_environment_and_the_package(course, tmp_path):
    done = released(course, tmp_path / "out")
    with zipfile.ZipFile(done.archive) as archive:
        names = set(archive.namelist())
        text = archive.read(f"{TOP}/notebooks/{NAME}.ipynb").decode()
    parts = (f"notebooks/{NAME}.ipynb", "environment.yml", "notebooks/claims.yaml")
    assert names == {f"{TOP}/{part}" for part in (*parts, "labsupport/__init__.py")}
    assert text == done.notebook.read_text()
    assert done.notebook == tmp_path / "out" / NAME / f"{NAME}.ipynb"


def test_the_same_lab_makes_the_same_archive(course, tmp_path):
    one, two = released(course, tmp_path / "one"), released(course, tmp_path / "two")
    assert one.archive.read_bytes() == two.archive.read_bytes()


def test_a_lab_that_would_leak_is_refused_and_nothing_is_written(course, tmp_path):
    lab = made_lab()
    lab.cells[7].metadata["tags"] = ["product = width * height"]
    nbformat.write(lab, course / "notebooks" / f"{NAME}.ipynb")
    with pytest.raises(LabError, match="gives away"):
        released(course, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def without_an_end(lab):
    lab.cells[7].source = lab.cells[7].source.replace("### END SOLUTION", "")


def without_a_name(lab):
    lab.cells[7].metadata["nbgrader"] = {"solution": True}


@pytest.mark.parametrize("spoil", [without_an_end, without_a_name])
def test_a_lab_that_nbgrader_refuses_is_refused_in_one_line(course, tmp_path, spoil):
    lab = made_lab()
    spoil(lab)
    nbformat.write(lab, course / "notebooks" / f"{NAME}.ipynb")
    with pytest.raises(LabError, match="nbgrader refuses"):
        released(course, tmp_path / "out")
