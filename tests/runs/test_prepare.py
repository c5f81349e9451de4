import pytest

from labsupport.core.errors import LabError
from labsupport.runs.prepare import Request, new_run, resumed_run
from labsupport.runs.record import write_record


def test_a_file_that_passes_for_the_profile_of_a_run_does_not_resume_it(course, tmp_path):
    prepared = new_run(Request(tmp_path / "runs", course, profile="lab", name="one"))
    write_record(prepared.run, prepared.record)
    (tmp_path / "lab.yaml").write_text("all: {}")
    with pytest.raises(LabError, match="is not the course's profile lab"):
        resumed_run(prepared.run, Request(tmp_path, course, profile=str(tmp_path / "lab.yaml")))
    own = Request(tmp_path, course, profile=str(course / "profiles" / "lab.yaml"))
    assert resumed_run(prepared.run, own).record.profile == "lab"
