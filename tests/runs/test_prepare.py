"""What a run that is taken up again runs again, and what it refuses."""

from dataclasses import replace

import pytest
from made_conditions import OTHER_MACHINE
from made_course import PARAMETERS, make_course, write_lab

from labsupport.core.errors import LabError
from labsupport.data.sources import MNIST
from labsupport.runs import conditions
from labsupport.runs.conditions import current
from labsupport.runs.prepare import Request, data_files, new_run, resumed_run
from labsupport.runs.record import write_record


def finished(request):
    """The folder of a new run, all labs done as of now."""
    prepared = new_run(request)
    (prepared.run / "notebooks").mkdir()
    for name, lab in prepared.record.labs.items():
        data = data_files(lab.parameters, prepared.run, request.data_dir)
        lab.status = "done"
        lab.conditions = current(prepared.catalog[name].path, 4, None, OTHER_MACHINE, data)
        (prepared.run / "notebooks" / f"{name}.ipynb").touch()
    write_record(prepared.run, prepared.record)
    return prepared.run


@pytest.fixture
def done(course, tmp_path, monkeypatch):
    """A request to resume a run, and that run's folder: all labs done as of now."""
    monkeypatch.setattr(conditions, "versions", lambda: {"torch": "2.15.0"})
    request = Request(tmp_path / "runs", course, name="one")
    return request, finished(request)


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
        lab.status, lab.conditions = "done", current(course / f"{name}.ipynb", 1, None, [], {})
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


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("seed: int = 0", "seed: bool = False", "seed=0: "),
        ("seed: int = 0  # of everything random [0..99]", "seed: int = 1  # [1..99]", "seed=0: "),
        ("shuffle: bool = True", "shuffle: int = 1", "shuffle=True: "),
    ],
)
def test_a_lab_whose_parameters_take_other_values_by_now_is_named(done, course, old, new, reason):
    write_lab(course, "00_first", parameters=PARAMETERS.replace(old, new))
    with pytest.raises(LabError, match=f"00_first has other parameters by now: {reason}"):
        again(done)


def write_sets(folder, content):
    """A folder of data sets: a CSV file, and files in the places of MNIST's."""
    for file in ("mine.csv", *MNIST[0]):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(content)
    return folder


@pytest.fixture
def on_data(tmp_path, monkeypatch):
    """The run of two done labs on sets of the folder `sets`: 00 on a CSV file, 01 on MNIST."""
    monkeypatch.setattr(conditions, "versions", lambda: {"torch": "2.15.0"})
    course = make_course(tmp_path / "notebooks")
    for name in ("00_first", "01_second"):
        write_lab(course, name, parameters=PARAMETERS + 'data: str = "mnist"\n')
    sets = write_sets(tmp_path / "sets", "0,0")
    given = {"assignments": ["00_first.data=csv:mine.csv"], "data_dir": sets, "name": "one"}
    run = finished(Request(tmp_path / "runs", course, **given))
    return Request(tmp_path / "runs", course, name="one"), run


def test_labs_whose_data_was_edited_run_again(on_data, tmp_path):
    assert again(on_data) == {}
    (tmp_path / "sets" / "mine.csv").write_text("0,1")
    reasons = again(on_data)
    assert list(reasons) == ["00_first"]
    assert reasons["00_first"].endswith(f" at {tmp_path / 'sets' / 'mine.csv'})")
    write_sets(tmp_path / "sets", "0,1")
    assert list(again(on_data)) == ["00_first", "01_second"]


@pytest.mark.parametrize("content", ["0,0", "0,1"])
def test_labs_that_read_another_folder_by_now_run_again(on_data, tmp_path, content):
    other = write_sets(tmp_path / "other", content)
    request = replace(on_data[0], data_dir=other)
    reasons = again((request, on_data[1]))
    assert list(reasons) == ["01_second"], "the path of the CSV file is the same"
    assert f" at {tmp_path / 'sets/MNIST/raw'} -> " in reasons["01_second"]
    assert reasons["01_second"].endswith(f" at {other / 'MNIST/raw'})")


def test_a_set_that_is_not_there_or_inside_a_package_has_no_files(tmp_path):
    for values in ({}, {"data": "mnist"}, {"data": "mnist5k"}, {"data": "csv:../gone.csv"}):
        assert data_files(values, tmp_path, tmp_path) == {}


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
