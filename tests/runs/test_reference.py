import pandas as pd
import pytest

from labsupport.core.errors import LabError
from labsupport.records.tables import read_table, write_table
from labsupport.runs.record import LabRecord, RunRecord, write_record
from labsupport.runs.reference import keep_reference

MACHINE = [{"group": "processor", "item": "model", "value": "made"}]


def made_run(folder, labs, **facts):
    records = {lab: LabRecord(status=status) for lab, status in labs.items()}
    record = RunRecord(folder.name, "lab", "2026-01-01T00:00:00", records, machine=MACHINE, **facts)
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


@pytest.mark.parametrize(
    ("status", "facts", "problem"),
    [
        ("failed", {}, "not finished"),
        ("pending", {}, "not finished"),
        ("done", {"overrides": {"00_first": {"seed": 1}}}, "changed parameters"),
        ("done", {"jobs": 2}, "ran labs at once"),
    ],
)
def test_a_run_that_cannot_be_a_reference_is_refused(tmp_path, status, facts, problem):
    run = made_run(tmp_path / "one", {"00_first": status}, **facts)
    with pytest.raises(LabError, match=problem):
        keep_reference(run, tmp_path / "reference")
    assert not (tmp_path / "reference").exists()
