"""What a run that is taken up again runs again, and what it refuses."""

import pytest
from made_conditions import OTHER_MACHINE

from labsupport.core.errors import LabError
from labsupport.runs import conditions
from labsupport.runs.conditions import current
from labsupport.runs.prepare import Request, new_run, resumed_run
from labsupport.runs.record import write_record


@pytest.fixture
def done(course, tmp_path, monkeypatch):
    """A request to resume a run, and that run's folder: all labs done as of now."""
    monkeypatch.setattr(conditions, "versions", lambda: {"torch": "2.15.0"})
    request = Request(tmp_path / "runs", course, name="one")
    prepared = new_run(request)
    (prepared.run / "notebooks").mkdir()
    for name, lab in prepared.record.labs.items():
        lab.status = "done"
        lab.conditions = current(course / f"{name}.ipynb", 4, None, OTHER_MACHINE)
        (prepared.run / "notebooks" / f"{name}.ipynb").touch()
    write_record(prepared.run, prepared.record)
    return request, prepared.run


def again(done):
    """Labs to be run again, with the reasons."""
    request, run = done
    prepared = resumed_run(run, request)
    pending = {name for name, lab in prepared.record.labs.items() if lab.status == "pending"}
    assert pending == set(prepared.again)
    return prepared.again


def test_what_nothing_has_changed_of_stays_done_with_what_it_ran_with(done):
    request, run = done
    assert again(done) == {}
    (first, _) = resumed_run(run, request).record.labs.values()
    assert (first.conditions.jobs, first.conditions.machine) == (4, OTHER_MACHINE)


def test_a_notebook_that_changes_runs_again_alone(done, course):
    path = course / "01_second.ipynb"
    path.write_text(path.read_text().replace("# 01_second", "# A better title"))
    assert list(again(done)) == ["01_second"]
    assert again(done)["01_second"].startswith("changed since it ran: notebook (")


def test_when_the_package_changes_all_labs_run_again(done, monkeypatch):
    monkeypatch.setattr(conditions, "code_hash", lambda: "new")
    assert list(again(done)) == ["00_first", "01_second"]
    assert again(done)["00_first"].endswith(" -> new)")


def test_labs_that_ran_with_another_version_run_again_and_what_needs_them(
    done, course, monkeypatch
):
    monkeypatch.setattr(conditions, "versions", lambda: {"torch": "2.16.0"})
    request, run = done
    record = resumed_run(run, request).record
    assert {lab.status for lab in record.labs.values()} == {"pending"}
    for name, lab in record.labs.items():
        lab.status, lab.conditions = "done", current(course / f"{name}.ipynb", 1, None, [])
    older = {"versions": {"torch": "2.15.0"}}
    first = record.labs["00_first"]
    first.conditions = first.conditions.model_copy(update=older)
    write_record(run, record)
    assert again(done) == {
        "00_first": "changed since it ran: torch (2.15.0 -> 2.16.0)",
        "01_second": "it needs 00_first",
    }


def test_a_lab_whose_executed_notebook_is_gone_runs_again(done):
    (done[1] / "notebooks" / "00_first.ipynb").unlink()
    assert again(done) == {
        "00_first": "its executed notebook is gone",
        "01_second": "it needs 00_first",
    }


@pytest.mark.parametrize(
    ("old", "new", "differing"),
    [("out: str", "width: int = 8\\nout: str", "width"), ("seed: int", "sed: int", "sed, seed")],
)
def test_a_lab_that_has_other_parameters_by_now_is_named(done, course, old, new, differing):
    path = course / "00_first.ipynb"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(LabError, match=f"00_first has other parameters by now: {differing};"):
        again(done)


def test_a_lab_that_is_gone_is_named(done, course):
    (course / "01_second.ipynb").unlink()
    with pytest.raises(LabError, match="labs that are gone: 01_second"):
        again(done)


@pytest.mark.parametrize(
    "setting", [{"profile": "quick"}, {"only": ["0"]}, {"last": "1"}, {"assignments": ["seed=1"]}]
)
def test_labs_and_parameters_are_not_chosen_anew(done, course, setting):
    with pytest.raises(LabError, match="keeps its labs and parameters; leave out --profile"):
        resumed_run(done[1], Request(done[0].runs, course, **setting))
