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
def test_a_path_in_the_data_folder_is_found_from_the_run_folder(desk, monkeypatch, by_environment):
    (desk / "sets" / "mine.csv").touch()
    data_dir = desk / "sets"
    if by_environment:
        monkeypatch.setenv("LABS_DATA", str(data_dir))
        data_dir = None
    values = relative_data({"data": "csv:mine.csv", "seed": 1}, desk / "runs", data_dir)
    assert values == {"data": "csv:../../sets/mine.csv", "seed": 1}


@pytest.mark.parametrize("runs", ["../runs", "../not/yet/made"])
def test_a_path_here_comes_first_and_is_found_from_the_run_folder(desk, runs):
    (desk / "sets" / "mine.csv").write_text("sets")
    Path("mine.csv").write_text("here")
    for given in ("mine.csv", desk / "here" / "mine.csv"):
        value = relative_data({"data": f"csv:{given}"}, Path(runs), desk / "sets")["data"]
        run = Path(runs, "any").resolve()
        run.mkdir(parents=True, exist_ok=True)
        path = Path(str(value).removeprefix("csv:"))
        assert not path.is_absolute()
        assert (run / path).read_text() == "here"


def test_a_name_stays_as_given(desk):
    for values in ({"data": "mnist"}, {"seed": 1}):
        assert relative_data(values, desk / "runs", None) == values


def test_absent_data_is_refused_before_the_folder_is_made(course, desk):
    write_lab(course, "02_third", parameters='data: str = "mnist5k"  # data set')
    request = Request(desk / "runs", course, assignments=["data=csv:mine.csv"])
    with pytest.raises(LabError, match=r"there is no mine\.csv"):
        new_run(request)
    assert not list((desk / "runs").iterdir())


def test_a_run_resumes_with_the_data_it_was_started_with(course, desk):
    write_lab(course, "02_third", parameters='data: str = "mnist5k"  # data set')
    Path("mine.csv").touch()
    started = Request(Path("../runs"), course, assignments=["data=csv:mine.csv"], name="one")
    prepared = new_run(started)
    write_record(prepared.run, prepared.record)
    assert prepared.record.labs["02_third"].parameters["data"] == "csv:../../here/mine.csv"
    resumed = resumed_run(prepared.run, Request(Path("../runs"), course))
    assert resumed.record.labs == prepared.record.labs
