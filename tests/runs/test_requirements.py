from pathlib import Path

import pytest
from made_course import write_lab

from labsupport.core.errors import LabError
from labsupport.runs.prepare import Request, new_run, relative_data, resumed_run
from labsupport.runs.record import write_record


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """A current folder, a data folder and a folder of runs, apart from each other."""
    for name in ("here", "sets", "runs"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.delenv("LABS_DATA", raising=False)
    return tmp_path


@pytest.mark.parametrize("by_environment", [True, False])
def test_a_path_in_the_data_folder_stays_as_given(desk, monkeypatch, by_environment):
    (desk / "sets" / "mine.csv").touch()
    data_dir = desk / "sets"
    if by_environment:
        monkeypatch.setenv("LABS_DATA", str(data_dir))
        data_dir = None
    values = relative_data({"data": "csv:mine.csv", "seed": 1}, desk / "runs", data_dir)
    assert values == {"data": "csv:mine.csv", "seed": 1}


@pytest.mark.parametrize("runs", ["../runs", "../not/yet/made"])
def test_a_path_here_comes_first_and_is_found_from_the_run_folder(desk, monkeypatch, runs):
    (desk / "sets" / "mine.csv").write_text("sets")
    Path("mine.csv").write_text("here")
    value = relative_data({"data": "csv:mine.csv"}, Path(runs), desk / "sets")["data"]
    run = Path(runs, "any").resolve()
    run.mkdir(parents=True)
    monkeypatch.chdir(run)
    path = Path(str(value).removeprefix("csv:"))
    assert path.read_text() == "here"
    assert not path.is_absolute()


def test_an_absolute_path_and_a_name_stay_as_given(desk):
    for value in (f"folder:{desk / 'sets'}", "mnist"):
        assert relative_data({"data": value}, desk / "runs", None) == {"data": value}
    assert relative_data({"seed": 1}, desk / "runs", None) == {"seed": 1}


def test_absent_data_is_refused_before_the_folder_is_made(course, desk):
    write_lab(course, "02_third", parameters='data: str = "mnist5k"  # data set')
    request = Request(desk / "runs", course, assignments=["data=csv:mine.csv"])
    with pytest.raises(LabError, match=r"there is no mine\.csv"):
        new_run(request)
    assert not list((desk / "runs").iterdir())


def test_a_run_resumes_with_the_data_it_was_started_with_and_no_other(course, desk):
    write_lab(course, "02_third", parameters='data: str = "mnist5k"  # data set')
    for name in ("mine.csv", "other.csv"):
        Path(name).touch()
    request = Request(Path("../runs"), course, assignments=["data=csv:mine.csv"], name="one")
    prepared = new_run(request)
    write_record(prepared.run, prepared.record)
    assert prepared.record.labs["02_third"].parameters["data"] == "csv:../../here/mine.csv"
    resumed = resumed_run(prepared.run, Request(Path("../runs"), course))
    assert resumed.record.labs == prepared.record.labs
    other = Request(Path("../runs"), course, assignments=["data=csv:other.csv"])
    with pytest.raises(LabError, match="start a new run"):
        resumed_run(prepared.run, other)
