"""Where the course lies, for a checkout and for an installed package."""

from pathlib import Path

from labsupport.core import course

ROOT = Path(__file__).parents[2]


def test_a_checkout_is_the_course_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert course.course_root() == ROOT


def test_an_installed_package_finds_the_course_above_the_current_folder(tmp_path, monkeypatch):
    installed = tmp_path / "site-packages" / "labsupport" / "core" / "course.py"
    run = tmp_path / "checkout" / "runs" / "one"
    for folder in (run, tmp_path / "checkout" / "notebooks"):
        folder.mkdir(parents=True)
    monkeypatch.setattr(course, "__file__", str(installed))
    monkeypatch.chdir(run)
    assert course.course_root() == tmp_path / "checkout"
    monkeypatch.chdir(tmp_path)
    assert course.course_root() == tmp_path
