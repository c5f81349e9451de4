"""How a run ends: which required claims break it."""

import pytest
from made_claims import write_definitions

from labsupport.records.results import Results
from labsupport.runs import summary
from labsupport.runs.record import LabRecord, RunRecord

ABOUT = {"statement": "It is small", "relation": "<=", "aim": 2}
LABS = {
    "00_first": [
        ABOUT | {"id": "first.needed", "required": True},
        ABOUT | {"id": "first.other", "required": True},
        ABOUT | {"id": "first.free"},
    ],
    "01_second": [ABOUT | {"id": "second.needed", "required": True}],
}


@pytest.fixture
def course(tmp_path, monkeypatch):
    write_definitions(tmp_path, LABS)
    monkeypatch.setattr(summary, "course_root", lambda: tmp_path)
    return tmp_path


def made_record(labs):
    return RunRecord(name="run", profile="quick", started="2026-01-01", labs=labs)


def broken(course, given, status="done"):
    """The broken claims of a run whose first lab gave these values and whose second failed."""
    if given:
        Results("00_first", "quick", "made", course, course).claims(given)
    labs = {"00_first": LabRecord(status=status), "01_second": LabRecord(status="failed")}
    return summary.summary(course, made_record(labs))[1]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"first.needed": 1, "first.other": 2}, []),
        ({"first.needed": 1, "first.other": 3}, ["first.other"]),
        ({"first.needed": 1, "first.free": 3}, ["first.other"]),
        ({"first.other": 3}, ["first.other", "first.needed"]),
        ({}, ["first.needed", "first.other"]),
    ],
)
def test_a_required_claim_must_hold_and_must_be_given(course, given, expected):
    assert broken(course, given) == expected


def test_a_lab_that_has_not_finished_owes_nothing(course):
    assert broken(course, {}, status="failed") == []
