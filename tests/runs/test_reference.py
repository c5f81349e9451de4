import pandas as pd
import pytest
from made_conditions import MACHINE, OTHER_MACHINE, VERSIONS, made_conditions

from labsupport.core.errors import LabError
from labsupport.records.tables import read_table, write_table
from labsupport.runs.record import LabRecord, RunRecord, write_record
from labsupport.runs.reference import keep_reference


def made_run(folder, labs, overrides=None, **conditions):
    """A run of labs with their statuses; `conditions` are facts by lab."""
    records = {
        lab: LabRecord(status=status, conditions=made_conditions(**conditions.get(f"_{lab}", {})))
        for lab, status in labs.items()
    }
    record = RunRecord(
        name=folder.name,
        profile="lab",
        started="2026-01-01T00:00:00",
        labs=records,
        overrides=overrides or {},
    )
    for lab in labs:
        for table in ("claims", "scorecards", "sweep"):
            frame = pd.DataFrame({"lab": [lab], "from": [f"{folder.name} {table}"]})
            write_table(folder / "tables" / lab / f"{table}.csv", frame)
    write_record(folder, record)
    return folder


def test_tables_and_machine_are_kept_by_profile_and_lab(tmp_path):
    run = made_run(tmp_path / "one", {"00_first": "done", "01_second": "done"})
    kept = keep_reference(run, tmp_path / "reference")
    assert kept == [tmp_path / "reference" / "lab" / lab for lab in ("00_first", "01_second")]
    names = ["claims.csv", "machine_report.csv", "scorecards.csv", "sweep.csv"]
    assert sorted(path.name for path in kept[0].iterdir()) == names
    source = (run / "tables" / "00_first" / "sweep.csv").read_bytes()
    assert (kept[0] / "sweep.csv").read_bytes() == source
    assert read_table(kept[0] / "machine_report.csv").to_dict("records") == MACHINE


def test_labs_of_other_runs_stay_and_tables_that_are_gone_go(tmp_path):
    reference = tmp_path / "reference"
    keep_reference(made_run(tmp_path / "one", {"00_first": "done", "01_second": "done"}), reference)
    later = made_run(tmp_path / "two", {"01_second": "done"})
    (later / "tables" / "01_second" / "sweep.csv").unlink()
    keep_reference(later, reference)
    assert read_table(reference / "lab" / "00_first" / "sweep.csv")["from"][0] == "one sweep"
    assert read_table(reference / "lab" / "01_second" / "claims.csv")["from"][0] == "two claims"
    assert not (reference / "lab" / "01_second" / "sweep.csv").exists()


def test_each_lab_keeps_the_report_of_its_own_machine(tmp_path):
    run = made_run(tmp_path / "one", {"00_first": "done"}, _00_first={"machine": OTHER_MACHINE})
    (kept,) = keep_reference(run, tmp_path / "reference")
    assert read_table(kept / "machine_report.csv").to_dict("records") == OTHER_MACHINE


@pytest.mark.parametrize("status", ["failed", "pending"])
def test_a_run_that_is_not_finished_is_refused(tmp_path, status):
    run = made_run(tmp_path / "one", {"00_first": status})
    with pytest.raises(LabError, match="not finished"):
        keep_reference(run, tmp_path / "reference")


@pytest.mark.parametrize(
    ("facts", "problem"),
    [
        ({"overrides": {"01_second": {"seed": 1}}}, "parameters were changed in 01_second"),
        ({"_01_second": {"jobs": 4}}, "labs ran at once, which spoils the clock: 01_second"),
        ({"_01_second": {"machine": OTHER_MACHINE}}, "model is Abacus 9000 in 00_first but Slide"),
        ({"_01_second": {"code": "new"}}, "labsupport is code in 00_first but new in 01_second"),
        ({"_01_second": {"versions": VERSIONS | {"torch": "2.16.0"}}}, "torch is 2.15.0 in 00_fir"),
    ],
)
def test_a_mixture_is_refused_and_nothing_is_kept(tmp_path, facts, problem):
    run = made_run(tmp_path / "one", {"00_first": "done", "01_second": "done"}, **facts)
    with pytest.raises(LabError, match=problem):
        keep_reference(run, tmp_path / "reference")
    assert not (tmp_path / "reference").exists()
