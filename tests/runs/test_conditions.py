import shutil

import nbformat
import pytest
from made_conditions import OTHER_MACHINE, VERSIONS, made_conditions
from made_course import write_lab

from labsupport.runs import conditions
from labsupport.runs.conditions import Conditions, cells_hash, code_hash, mixture, versions


def changed(path, change):
    """The hash of a notebook's cells after a change to the notebook."""
    notebook = nbformat.read(path, as_version=4)
    change(notebook)
    nbformat.write(notebook, path)
    return cells_hash(path)


def test_outputs_counts_and_metadata_leave_a_notebook_what_it_is(course):
    path = course / "00_first.ipynb"
    before = cells_hash(path)

    def run(notebook):
        notebook.metadata["kernelspec"]["name"] = "another"
        notebook.cells[-1].execution_count = 7
        notebook.cells[-1].outputs = [nbformat.v4.new_output("stream", text="done")]
        notebook.cells[-1].metadata["execution"] = {"shell": "now"}

    assert changed(path, run) == before


@pytest.mark.parametrize(
    "change",
    [
        lambda notebook: notebook.cells[-1].update(source="1"),
        lambda notebook: notebook.cells[0].update(source="# Another title"),
        lambda notebook: notebook.cells[-1].metadata.update(tags=["skip-execution"]),
        lambda notebook: notebook.cells.reverse(),
        lambda notebook: notebook.cells.pop(),
    ],
)
def test_texts_tags_and_order_of_cells_make_another_notebook(course, change):
    path = course / "00_first.ipynb"
    before = cells_hash(path)
    assert changed(path, change) != before


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package that may be changed."""
    ignored = shutil.ignore_patterns("__pycache__")
    copy = shutil.copytree(conditions.PACKAGE, tmp_path / "labsupport", ignore=ignored)
    monkeypatch.setattr(conditions, "PACKAGE", copy)
    return copy


@pytest.mark.parametrize(
    "file", ["core/errors.py", "plots/style.py", "methods/distillation/hints.py"]
)
def test_code_that_a_lab_can_use_is_other_code_when_it_changes(package, file):
    before = code_hash()
    with (package / file).open("a") as source:
        source.write("\n")
    assert code_hash() != before


def test_a_module_that_moves_is_other_code(package):
    before = code_hash()
    (package / "plots" / "style.py").rename(package / "plots" / "look.py")
    assert code_hash() != before


@pytest.mark.parametrize("file", ["runs/runner.py", "report/pages.py", "app/cli.py"])
def test_code_that_only_runs_labs_may_change(package, file):
    before = code_hash()
    (package / file).write_text("")
    assert code_hash() == before


def test_what_has_changed_is_named_with_both_values(course, monkeypatch):
    path = write_lab(course, "02_third")
    monkeypatch.setattr(conditions, "versions", lambda: VERSIONS | {"torch": "2.16.0"})
    ran = made_conditions(notebook=cells_hash(path), code=code_hash())
    assert ran.changes(path, {}) == ["torch (2.15.0 -> 2.16.0)"]
    ran = ran.model_copy(update={"versions": {**ran.versions, "torch": "2.16.0"}, "code": "old"})
    assert ran.changes(path, {}) == [f"labsupport (old -> {code_hash()})"]
    now = ran.model_copy(update={"code": code_hash(), "jobs": 4, "machine": OTHER_MACHINE})
    assert now.changes(path, {}) == [], "a lab keeps what it ran with on another machine"


def test_the_versions_are_those_of_what_is_installed():
    import numpy

    assert versions()["numpy"] == numpy.__version__
    assert versions()["python"].startswith("3.")


def test_labs_that_ran_alike_are_no_mixture():
    one, other = made_conditions(), made_conditions(notebook="another")
    assert mixture({"00_first": one, "01_second": other}) == []
    assert mixture({}) == []


def test_labs_that_read_other_sets_are_no_mixture():
    labs = [made_conditions(data={name: f"{name} at /sets"}) for name in ("mnist", "stl10")]
    assert mixture({"00_first": labs[0], "01_second": labs[1], "02_third": made_conditions()}) == []


def test_labs_that_ran_at_once_are_named():
    labs = {"00_first": made_conditions(), "01_second": made_conditions(jobs=2)}
    assert mixture(labs) == ["labs ran at once, which spoils the clock: 01_second"]


@pytest.mark.parametrize(
    ("facts", "difference"),
    [
        ({"code": "new"}, "labsupport is code in 00_first, 02_third but new in 01_second"),
        (
            {"versions": {"numpy": "2.4.6"}},
            "torch is 2.15.0 in 00_first, 02_third but absent in 01_second",
        ),
        (
            {"machine": OTHER_MACHINE},
            "processor model is Abacus 9000 in 00_first, 02_third but Slide rule 4 in 01_second",
        ),
        (
            {"scheduler": "tcp://cluster:1"},
            "scheduler is none in 00_first, 02_third but tcp://cluster:1 in 01_second",
        ),
        (
            {"data": {"mnist": "2b at /other"}},
            "mnist is 1a at /sets in 00_first, 02_third but 2b at /other in 01_second",
        ),
    ],
)
def test_what_differs_between_labs_is_named_with_the_labs(facts, difference):
    usual = made_conditions(data={"mnist": "1a at /sets"})
    labs = {"00_first": usual, "01_second": made_conditions(**facts), "02_third": usual}
    assert mixture(labs) == [difference]


def test_of_many_differences_three_are_told():
    bare = Conditions(notebook="cells", code="code", versions={})
    found = mixture({"00_first": made_conditions(), "01_second": bare})
    assert len(found) == 4
    assert found[-1] == "3 more differences"
