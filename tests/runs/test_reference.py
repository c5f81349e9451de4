import pandas as pd
import pytest
from made_claims import write_definitions
from made_conditions import MACHINE, OTHER_MACHINE, VERSIONS, made_conditions
from made_course import small_seed

from labsupport.core.errors import LabError
from labsupport.records.tables import read_table, write_table
from labsupport.runs.catalog import read_catalog
from labsupport.runs.profiles import all_parameters, load_profile
from labsupport.runs.record import LabRecord, RunRecord, write_record
from labsupport.runs.reference import keep_reference

CLUSTER = {"scheduler": "tcp://cluster:1"}


def made_run(folder, labs, course, changed=None, **conditions):
    """A run of labs with their statuses; `conditions` are facts by lab."""
    parameters = all_parameters(read_catalog(course))
    profile = load_profile("lab", course / "profiles", parameters)
    records = {
        lab: LabRecord(
            status=status,
            parameters=profile.values(lab, parameters[lab]) | (changed or {}).get(lab, {}),
            conditions=made_conditions(**conditions.get(f"_{lab}", {})),
        )
        for lab, status in labs.items()
    }
    record = RunRecord(
        name=folder.name,
        profile="lab",
        started="2026-01-01T00:00:00",
        labs=records,
    )
    for lab in labs:
        for table in ("claims", "scorecards", "sweep"):
            frame = pd.DataFrame({"lab": [lab], "from": [f"{folder.name} {table}"]})
            write_table(folder / "tables" / lab / f"{table}.csv", frame)
    write_record(folder, record)
    return folder


def test_tables_and_machine_are_kept_by_profile_and_lab(tmp_path, course):
    run = made_run(tmp_path / "one", {"00_first": "done", "01_second": "done"}, course)
    kept = keep_reference(run, tmp_path)
    assert kept == [tmp_path / "data/reference" / "lab" / lab for lab in ("00_first", "01_second")]
    names = ["claims.csv", "machine_report.csv", "scorecards.csv", "sweep.csv"]
    assert sorted(path.name for path in kept[0].iterdir()) == names
    source = (run / "tables" / "00_first" / "sweep.csv").read_bytes()
    assert (kept[0] / "sweep.csv").read_bytes() == source
    assert read_table(kept[0] / "machine_report.csv").to_dict("records") == MACHINE


def test_labs_of_other_runs_stay_and_tables_that_are_gone_go(tmp_path, course):
    reference = tmp_path / "data/reference"
    first = made_run(tmp_path / "one", {"00_first": "done", "01_second": "done"}, course)
    keep_reference(first, tmp_path)
    later = made_run(tmp_path / "two", {"01_second": "done"}, course)
    (later / "tables" / "01_second" / "sweep.csv").unlink()
    keep_reference(later, tmp_path)
    assert read_table(reference / "lab" / "00_first" / "sweep.csv")["from"][0] == "one sweep"
    assert read_table(reference / "lab" / "01_second" / "claims.csv")["from"][0] == "two claims"
    assert not (reference / "lab" / "01_second" / "sweep.csv").exists()


def test_a_stop_while_a_lab_is_copied_leaves_what_was_there(tmp_path, course, monkeypatch):
    (kept,) = keep_reference(made_run(tmp_path / "one", {"00_first": "done"}, course), tmp_path)
    before = {path.name: path.read_bytes() for path in kept.iterdir()}
    later = made_run(tmp_path / "two", {"00_first": "done"}, course)

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("labsupport.runs.reference.write_table", stopped)
    with pytest.raises(KeyboardInterrupt):
        keep_reference(later, tmp_path)
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == before
    assert list(kept.parent.iterdir()) == [kept]


def test_each_lab_keeps_the_report_of_its_own_machine(tmp_path, course):
    run = made_run(
        tmp_path / "one", {"00_first": "done"}, course, _00_first={"machine": OTHER_MACHINE}
    )
    (kept,) = keep_reference(run, tmp_path)
    assert read_table(kept / "machine_report.csv").to_dict("records") == OTHER_MACHINE


@pytest.mark.parametrize("status", ["failed", "pending"])
def test_a_run_that_is_not_finished_is_refused(tmp_path, course, status):
    run = made_run(tmp_path / "one", {"00_first": status}, course)
    with pytest.raises(LabError, match="not finished"):
        keep_reference(run, tmp_path)


@pytest.mark.parametrize(
    ("facts", "problem"),
    [
        ({"changed": {"01_second": {"seed": 1}}}, "01_second ran with other parameters than the"),
        ({"_01_second": {"jobs": 4}}, "labs ran at once, which spoils the clock: 01_second"),
        ({"_01_second": {"scheduler": "tcp://cluster:1"}}, "scheduler is none in 00_first but tcp"),
        (
            {"_00_first": CLUSTER, "_01_second": CLUSTER},
            "00_first, 01_second trained on machines that are not on record",
        ),
        ({"_01_second": {"machine": OTHER_MACHINE}}, "model is Abacus 9000 in 00_first but Slide"),
        ({"_01_second": {"code": "new"}}, "labsupport is code in 00_first but new in 01_second"),
        ({"_01_second": {"versions": VERSIONS | {"torch": "2.16.0"}}}, "torch is 2.15.0 in 00_fir"),
    ],
)
def test_a_mixture_is_refused_and_nothing_is_kept(tmp_path, course, facts, problem):
    run = made_run(tmp_path / "one", {"00_first": "done", "01_second": "done"}, course, **facts)
    with pytest.raises(LabError, match=problem):
        keep_reference(run, tmp_path)
    assert not (tmp_path / "data/reference").exists()


def test_the_set_that_the_aims_are_for_may_stand_in_for_the_profiles(tmp_path, course):
    lab = "00_first"
    write_definitions(tmp_path, {lab: [small_seed(lab)]}, {"quick": "q", "lab": "folder:mine"})
    run, other = (
        made_run(tmp_path / name, {lab: "done"}, course, changed={lab: {"data": data}})
        for name, data in (("one", "folder:/there/mine"), ("two", "folder:/there/yours"))
    )
    assert keep_reference(run, tmp_path) == [tmp_path / "data/reference/lab" / lab]
    with pytest.raises(LabError, match=f"{lab} ran with other parameters"):
        keep_reference(other, tmp_path)


def test_a_profile_that_was_edited_since_refuses_its_old_runs(tmp_path, course):
    run = made_run(tmp_path / "one", {"00_first": "done", "01_second": "done"}, course)
    (course / "profiles" / "lab.yaml").write_text("all: {rate: 1}\nlabs: {01_second: {seed: 8}}\n")
    with pytest.raises(LabError, match="01_second ran with other parameters than the profile's"):
        keep_reference(run, tmp_path)
