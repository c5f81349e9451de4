"""The course in the quick profile: it runs, it repeats, and it survives a kill in the middle.

Every lab is executed once for all of it, by `labs run`, as a user would. That a resumed run has the
tables of an undisturbed one is shown with small labs, in `runs/test_runner.py`.
"""

import json
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import psutil
import pytest
from compared_cells import check_cells

from labsupport.records.definitions import read_definitions
from labsupport.records.tables import read_tables
from labsupport.runs.record import read_record

pytestmark = [pytest.mark.slow, pytest.mark.timeout(4800)]
LABS = Path(sys.executable).parent / "labs"
NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
NAMES = sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))
DEFINITIONS = read_definitions(NOTEBOOKS / "claims.yaml")
MEMORY_LIMIT = 3e9  # bytes; what the issue of these labs allows on a laptop


def command(runs, *more):
    return [str(LABS), "run", "--runs-dir", str(runs), "--no-report", *more]


def statuses(run):
    """Status by lab, as run.json has it at this moment."""
    return {name: lab.status for name, lab in read_record(run).labs.items()}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of all labs, killed with all its processes in the middle of lab 05, and resumed.

    Few rounds of clocking: no test here is about speed.
    """
    runs = tmp_path_factory.mktemp("runs")
    folder = runs / "whole"
    process = subprocess.Popen(
        command(runs, "--name", "whole", "-p", "rounds=6"), stdout=subprocess.DEVNULL
    )
    while not list((folder / "tables").glob("05_*/*.csv")):
        assert process.poll() is None, "the run ended before lab 05 wrote a table"
        time.sleep(0.2)
    root = psutil.Process(process.pid)
    for member in [root, *root.children(recursive=True)]:
        member.kill()
    process.wait()
    before = statuses(folder)
    assert before["04_depth_sweep"] == "done"
    assert before["05_width_sweep"] == "running"
    (folder / "killed").write_text(datetime.now().isoformat(timespec="seconds"))
    done = subprocess.run(command(runs, "--resume"), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_lab_is_done_within_the_memory_of_a_laptop(run):
    labs = json.loads((run / "run.json").read_text())["labs"]
    assert list(labs) == NAMES
    assert {lab["status"] for lab in labs.values()} == {"done"}
    assert max(lab["peak_memory_bytes"] for lab in labs.values()) <= MEMORY_LIMIT


@pytest.mark.parametrize("name", NAMES)
def test_a_lab_shows_what_its_committed_notebook_shows(run, name):
    """Every cell without the tag nbval-ignore-output, to the letter."""
    check_cells(run / "notebooks" / f"{name}.ipynb", NOTEBOOKS / f"{name}.ipynb")


def test_no_claim_that_does_not_depend_on_speed_fails(run):
    claims = read_tables(run, "claims")
    failed = claims[(claims["holds"].astype(str) == "False") & ~claims["clocked"].astype(bool)]
    assert failed["id"].tolist() == []


def test_every_claim_of_the_course_is_reported(run):
    defined = [claim.id for _, claim in DEFINITIONS.each()]
    assert read_tables(run, "claims")["id"].tolist() == defined


def test_resuming_runs_no_finished_lab_again(run):
    labs = json.loads((run / "run.json").read_text())["labs"]
    assert set(statuses(run).values()) == {"done"}
    killed = (run / "killed").read_text()
    assert labs["04_depth_sweep"]["started"] < killed <= labs["05_width_sweep"]["started"]
