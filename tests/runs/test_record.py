import json

import pytest
from made_conditions import made_conditions

from labsupport.core.errors import LabError
from labsupport.runs.record import (
    LabRecord,
    RunRecord,
    find_run,
    locked,
    new_folder,
    read_record,
    write_record,
)


def made(name="one", started="2026-01-01T00:00:00"):
    done = {"status": "done", "seconds": 1.5, "conditions": made_conditions()}
    lab = LabRecord(title="First", parameters={"seed": 1, "rate": 0.5, "shuffle": True}, **done)
    about = {"name": name, "profile": "quick", "started": started}
    return RunRecord(**about, labs={"00_first": lab})


def test_a_record_comes_back_as_it_was_written(tmp_path):
    write_record(tmp_path, made())
    found = read_record(tmp_path)
    assert found == made()
    assert found.labs["00_first"].parameters["shuffle"] is True


OLD = {"name": "one", "profile": "quick", "started": "2026-01-01", "labs": {}, "jobs": 1}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"labs": {"a": {"color": 1}}}', json.dumps(OLD)])
def test_a_damaged_record_is_named(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(LabError, match=r"run\.json cannot be read"):
        read_record(tmp_path)


@pytest.mark.parametrize("name", ["", "a/b", "..", "-x", "interactive", "a b"])
def test_names_that_are_no_plain_word_are_refused(tmp_path, name):
    if not name:
        assert new_folder(tmp_path, name).is_dir(), "no name: the time"
    else:
        with pytest.raises(LabError, match="cannot name a run"):
            new_folder(tmp_path, name)


def test_the_latest_run_is_the_one_begun_last(tmp_path):
    for name, started in [("b", "2026-01-02T00:00:00"), ("a", "2026-01-03T00:00:00")]:
        write_record(new_folder(tmp_path, name), made(name, started))
    (tmp_path / "interactive").mkdir()
    assert find_run(tmp_path, None).name == "a"
    assert find_run(tmp_path, "b").name == "b"


def test_a_damaged_run_does_not_hide_the_others(tmp_path):
    (new_folder(tmp_path, "z_damaged") / "run.json").write_text("{")
    with pytest.raises(LabError, match="there is no run that can be read"):
        find_run(tmp_path, None)
    write_record(new_folder(tmp_path, "a"), made("a"))
    assert find_run(tmp_path, None).name == "a"
    with pytest.raises(LabError, match="cannot be read"):
        find_run(tmp_path, "z_damaged")


@pytest.mark.parametrize("name", [None, "gone"])
def test_a_run_that_is_not_there_is_refused(tmp_path, name):
    with pytest.raises(LabError, match="run"):
        find_run(tmp_path, name)


def test_only_one_holds_a_run_and_it_is_free_afterwards(tmp_path):
    with locked(tmp_path), pytest.raises(LabError, match="another process"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


def test_a_lab_to_be_run_again_keeps_only_what_it_was_told():
    told = {"title": "First", "needs": ["00"], "parameters": {"seed": 1}}
    outcome = {"status": "failed", "started": "now", "seconds": 2.0, "cell": 3, "error": "error"}
    lab = LabRecord(**told, **outcome, conditions=made_conditions())
    assert lab.pending() == LabRecord(**told)
