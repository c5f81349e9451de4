"""Whole runs of small made courses, with real kernels: shared between tests, as each costs 2 s."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest
from made_conditions import MACHINE, OTHER_MACHINE
from made_course import PARAMETERS, make_course, stored, write_lab, write_profiles
from typer.testing import CliRunner

from labsupport.app import cli
from labsupport.core.errors import LabError
from labsupport.data.sources import MNIST
from labsupport.records.tables import counted_tables
from labsupport.runs import conditions, record, runner, summary
from labsupport.runs.reference import keep_reference
from labsupport.sweep import SCHEDULER

COUNT = 'open("../count", "a").write("{name} ")'
WAIT = """from pathlib import Path
import time
Path("../waiting").touch()
while not Path("../go").exists():
    time.sleep(0.05)"""
# By hand, not by Results: importing pandas would take longer than the kernel.
TABLE = """from pathlib import Path
table = Path(out, "tables", "{name}", "numbers.csv")
table.parent.mkdir(parents=True, exist_ok=True)
_ = table.write_text(f"n\\n{{seed}}\\n")"""


@pytest.fixture(autouse=True)
def _made_machine(monkeypatch):
    monkeypatch.setattr(conditions, "machine", lambda: MACHINE)


def labs(folder: Path, *arguments: str):
    """`labs run` on the course in `folder`, judged by its own file of claims."""
    common = ["--runs-dir", str(folder / "runs"), "--notebooks", str(folder / "notebooks")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(summary, "course_root", lambda: folder)
        return CliRunner().invoke(cli.app, ["run", *common, "--no-report", *arguments])


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A run of two labs in which all goes well."""
    folder = tmp_path_factory.mktemp("plain")
    make_course(folder / "notebooks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conditions, "machine", lambda: MACHINE)
        result = labs(folder, "--name", "one", "--profile", "lab", "-p", "0.seed=3")
    return folder, result


def test_a_run_ends_well_and_says_so(plain):
    _, result = plain
    assert result.exit_code == 0, result.output
    for line in ("00_first: done in", "01_second: done in", "holds         00_first.seed: 3, aim"):
        assert line in result.output


def test_the_record_holds_what_was_run_and_how(plain):
    folder, _ = plain
    told = stored(folder / "runs" / "one")
    first, second = told["labs"]["00_first"], told["labs"]["01_second"]
    assert told["profile"] == "lab"
    ran = [lab["conditions"] for lab in (first, second)]
    assert [(of["jobs"], of["machine"], of["scheduler"]) for of in ran] == [(1, MACHINE, None)] * 2
    assert ran[0]["versions"]["python"].startswith("3.")
    assert ran[0]["notebook"] != ran[1]["notebook"]
    assert ran[0]["code"] == ran[1]["code"] == conditions.code_hash()
    assert (first["status"], second["status"]) == ("done", "done")
    assert first["parameters"]["seed"] == 3
    assert second["parameters"] == {
        **{"profile": "lab", "seed": 7, "rate": 1.0, "shuffle": True},
        **{"schedule": "onecycle", "out": "."},
    }
    assert first["peak_memory_bytes"] > 10_000_000
    assert first["seconds"] > 0
    assert first["error"] == ""


def test_parameters_reach_the_notebook_and_results_the_run_folder(plain):
    folder, _ = plain
    tables = counted_tables(folder / "runs" / "one")
    assert tables["00_first/numbers"].to_dict("records") == [{"seed": 3, "rate": 1.0}]
    assert tables["01_second/numbers"].to_dict("records") == [{"seed": 7, "rate": 1.0}]


def test_the_kept_notebook_is_executed_and_holds_nothing_volatile(plain):
    folder, _ = plain
    text = (folder / "runs" / "one" / "notebooks" / "00_first.ipynb").read_text()
    notebook = nbformat.reads(text, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == [1, 2, 3]
    assert "seed = 3" in code[1].source
    assert "shuffle" not in code[1].source, "only what differs is injected"
    assert str(folder) not in text
    assert '"papermill"' not in text
    assert '"start_time"' not in text
    assert code[1].id == "injected-parameters"


def test_nothing_but_whole_files_is_left(plain):
    folder, _ = plain
    run = folder / "runs" / "one"
    assert not list(run.rglob("*.part"))
    assert not list((run / "logs").iterdir()), "empty logs go"


def test_an_existing_name_is_refused_naming_resume(plain):
    folder, _ = plain
    before = (folder / "runs" / "one" / "run.json").read_text()
    result = labs(folder, "--name", "one")
    assert result.exit_code == 2
    assert "--resume --name one" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert (folder / "runs" / "one" / "run.json").read_text() == before


def test_resuming_a_finished_run_runs_nothing(plain):
    folder, _ = plain
    before = stored(folder / "runs" / "one")["labs"]
    result = labs(folder, "--resume")
    assert result.exit_code == 0
    assert stored(folder / "runs" / "one")["labs"] == before


@pytest.mark.parametrize(
    "arguments", [["--profile", "lab"], ["-p", "0.seed=3"], ["--data", "mnist"], ["--only", "0"]]
)
def test_labs_and_parameters_are_not_chosen_anew(plain, arguments):
    folder, _ = plain
    result = labs(folder, "--resume", *arguments)
    assert result.exit_code == 2
    assert "a resumed run keeps its labs and parameters; leave out --profile" in result.stderr


def test_a_run_that_another_process_works_in_is_refused(plain):
    folder, _ = plain
    with record.locked(folder / "runs" / "one"):
        result = labs(folder, "--resume")
    assert result.exit_code == 2
    assert "another process" in result.stderr


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """A run of labs that fail in all ways there are, two at once."""
    folder = tmp_path_factory.mktemp("broken")
    write_profiles(folder / "notebooks")
    made = {
        "00_raises": ["x = 1", "raise ValueError('two\\nlines')", "y = 2"],
        "01_needs_it": ["x = 1"],
        "02_needs_that": ["x = 1"],
        "03_exits": ["import sys; sys.exit(0)", "x = 1"],
        "04_dies": ["x = 1", "import os; os.kill(os.getpid(), 9)"],
        "05_hangs": ["import time; time.sleep(600)"],
        "06_fine": [TABLE.format(name="06_fine")],
        "07_may_fail": ["x = 1"],
        "08_full": ["import errno; raise OSError(errno.ENOSPC, 'No space left on device')"],
    }
    needs = {"01_needs_it": ["00_raises"], "02_needs_that": ["01_needs_it"]}
    for name, cells in made.items():
        path = write_lab(folder / "notebooks", name, *cells, needs=needs.get(name, ()))
    path = folder / "notebooks" / "07_may_fail.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[-1].source = "1 / 0"
    notebook.cells[-1].metadata["tags"] = ["raises-exception"]
    nbformat.write(notebook, path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conditions, "machine", lambda: MACHINE)
        result = labs(folder, "--name", "bad", "--timeout", "4", "--jobs", "2")
    return folder, result


@pytest.mark.parametrize(
    ("lab", "cell", "cause"),
    [
        ("00_raises", 4, "ValueError: two lines"),
        ("03_exits", 3, "SystemExit: 0"),
        ("04_dies", 4, "the kernel died"),
        ("05_hangs", 3, "not finished after 4 seconds"),
        ("08_full", 3, "No space left on device"),
    ],
)
def test_a_failure_is_named_by_lab_cell_and_cause_in_one_line(broken, lab, cell, cause):
    folder, result = broken
    told = stored(folder / "runs" / "bad")["labs"][lab]
    assert (told["status"], told["cell"]) == ("failed", cell)
    assert cause in told["error"]
    assert [line for line in result.output.splitlines() if lab in line and cause in line]


def test_independent_labs_run_and_dependent_ones_are_skipped(broken):
    folder, _ = broken
    told = stored(folder / "runs" / "bad")["labs"]
    assert told["06_fine"]["status"] == "done"
    assert told["07_may_fail"]["status"] == "done", "its cell is tagged raises-exception"
    assert told["01_needs_it"]["status"] == told["02_needs_that"]["status"] == "skipped"
    assert "00_raises" in told["01_needs_it"]["error"]


def test_a_failed_run_exits_with_one_and_tells_how_to_go_on(broken):
    folder, result = broken
    assert result.exit_code == 1
    assert "--resume --name bad" in result.stderr
    assert "Traceback" not in result.output
    assert "clocked columns are not reliable" in result.output
    ran = stored(folder / "runs" / "bad")["labs"].values()
    assert {lab["conditions"]["jobs"] for lab in ran if lab["started"]} == {2}


def test_the_notebook_of_a_failed_lab_is_kept_with_its_error(broken):
    folder, _ = broken
    kept = nbformat.read(folder / "runs" / "bad" / "notebooks" / "00_raises.ipynb", as_version=4)
    assert [o.ename for cell in kept.cells for o in cell.get("outputs", [])] == ["ValueError"]
    assert not [cell for cell in kept.cells if "papermill" in cell.source], "no error markers"


def test_running_in_threads_leaves_this_process_where_it_was(broken):
    assert Path.cwd().exists()
    assert "broken" not in str(Path.cwd())


def test_resuming_runs_only_what_failed(broken):
    folder, _ = broken
    write_lab(folder / "notebooks", "00_raises", "x = 1")
    told = stored(folder / "runs" / "bad")
    for lab in ("03_exits", "04_dies", "05_hangs", "08_full"):
        del told["labs"][lab]
    (folder / "runs" / "bad" / "run.json").write_text(json.dumps(told))
    result = labs(folder, "--resume", "--jobs", "2")
    now = stored(folder / "runs" / "bad")["labs"]
    assert result.exit_code == 0, result.output
    assert {lab["status"] for lab in now.values()} == {"done"}
    assert now["00_raises"]["error"] == ""
    assert now["06_fine"] == told["labs"]["06_fine"]


def test_a_resumed_run_is_a_mixture_that_no_reference_is_made_of(tmp_path, monkeypatch):
    """Two labs at once, then one of them anew: alone, on another machine, changed."""
    make_course(tmp_path / "notebooks")
    run = tmp_path / "runs" / "one"
    assert labs(tmp_path, "--name", "one", "--jobs", "2").exit_code == 0
    before = stored(run)["labs"]
    write_lab(tmp_path / "notebooks", "01_second", "x = 1", needs=["00_first"])
    monkeypatch.setattr(conditions, "machine", lambda: OTHER_MACHINE)
    result = labs(tmp_path, "--resume")
    assert "01_second runs again: changed since it ran: notebook (" in result.output
    assert "00_first runs again" not in result.output
    after = stored(run)["labs"]
    assert after["00_first"] == before["00_first"]
    assert after["01_second"]["conditions"]["jobs"] == 1
    assert after["01_second"]["conditions"]["machine"] == OTHER_MACHINE
    with pytest.raises(LabError, match=r"ran at once.*: 00_first; processor model is Abacus") as no:
        keep_reference(run, tmp_path)
    assert "in 00_first but Slide rule 4 in 01_second" in str(no.value)
    assert not (tmp_path / "data").exists()


def test_the_set_that_a_lab_downloads_is_on_its_record(tmp_path):
    """So that a resumed run does not take it for a set that has changed."""
    write_profiles(tmp_path / "notebooks")
    download = "for file in {!r}:\n    Path(os.environ['LABS_DATA'], file).write_text('made')"
    cell = "import os\nfrom pathlib import Path\n" + download.format(MNIST[0])
    parameters = PARAMETERS + 'data: str = "mnist"\n'
    write_lab(tmp_path / "notebooks", "00_first", cell, parameters=parameters)
    (tmp_path / "sets" / "MNIST" / "raw").mkdir(parents=True)
    folder = ["--data-dir", str(tmp_path / "sets")]
    assert labs(tmp_path, "--name", "one", *folder).exit_code == 0
    before = stored(tmp_path / "runs" / "one")["labs"]["00_first"]
    assert before["conditions"]["data"]["mnist"].endswith(str(tmp_path / "sets/MNIST/raw"))
    assert "runs again" not in labs(tmp_path, "--resume").output
    (tmp_path / "sets" / MNIST[0][0]).write_text("other")
    assert "00_first runs again: changed since it ran: mnist (" in labs(tmp_path, "--resume").output


def test_a_required_claim_that_fails_makes_the_run_fail(tmp_path):
    make_course(tmp_path / "notebooks")
    result = labs(tmp_path, "--only", "0", "-p", "seed=60", "--data-dir", str(tmp_path))
    assert result.exit_code == 1
    assert "required claims do not hold or are absent: 00_first.seed" in result.stderr
    assert "does not hold 00_first.seed: 60, aim <= 50" in result.output


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    code = (
        "from labsupport.runs import conditions; conditions.machine = lambda: []\n"
        "from labsupport.app.cli import main; main()"
    )
    common = ["--runs-dir", str(folder / "runs"), "--notebooks", str(folder / "notebooks")]
    return subprocess.Popen(
        [sys.executable, "-c", code, "run", *common, "--no-report", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Heed Ctrl-C also where these tests run in the background.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    while not path.exists():
        assert process.poll() is None, f"the run ended before {path.name} came"
        time.sleep(0.05)


def interruptible(folder: Path) -> None:
    """Two labs that write tables; the second waits for a file in its middle."""
    write_profiles(folder / "notebooks")
    for name, cells in {"00_quick": [], "01_slow": [WAIT], "02_last": []}.items():
        table, count = TABLE.format(name=name), COUNT.format(name=name)
        write_lab(folder / "notebooks", name, count, table, *cells, "x = 1")


def test_a_killed_run_resumes_to_the_same_tables(tmp_path):
    interruptible(tmp_path)
    process = start(tmp_path, "--name", "cut", "-p", "seed=5")
    wait_for(tmp_path / "runs" / "waiting", process)
    tree = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for member in tree:
        member.send_signal(signal.SIGKILL)
    process.communicate()
    run = tmp_path / "runs" / "cut"
    assert stored(run)["labs"]["01_slow"]["status"] == "running"
    (run / "tables" / "01_slow" / "gone.csv").write_text("n\n1\n")  # of the attempt cut short
    (run / "tables" / "02_last").mkdir()
    (run / "tables" / "02_last" / ".numbers.csv.1.part").write_text("n\n1")

    (tmp_path / "runs" / "go").touch()
    assert labs(tmp_path, "--resume").exit_code == 0
    assert (tmp_path / "runs" / "count").read_text().split() == [
        *("00_quick", "01_slow"),
        *("01_slow", "02_last"),
    ]
    assert labs(tmp_path, "--name", "whole", "-p", "seed=5").exit_code == 0
    resumed, whole = counted_tables(run), counted_tables(tmp_path / "runs" / "whole")
    assert list(resumed) == list(whole)
    assert all(resumed[name].equals(whole[name]) for name in whole)


def test_ctrl_c_keeps_the_record_and_kills_the_kernel(tmp_path):
    interruptible(tmp_path)
    process = start(tmp_path, "--name", "stopped")
    wait_for(tmp_path / "runs" / "waiting", process)
    kernels = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert "--resume --name stopped" in errors
    assert "Traceback" not in errors
    told = stored(tmp_path / "runs" / "stopped")["labs"]
    assert [lab["status"] for lab in told.values()] == ["done", "pending", "pending"]
    assert not [kernel for kernel in kernels if kernel.is_running()]


def test_a_full_disk_under_the_record_ends_in_one_line_and_loses_nothing(tmp_path, monkeypatch):
    make_course(tmp_path / "notebooks")
    original = record.write_text

    def full_after_the_first_lab(path, text):
        if path.name == "run.json" and '"status": "done"' in text:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        original(path, text)

    monkeypatch.setattr(
        record, "write_text", lambda path, text: _explained(full_after_the_first_lab, path, text)
    )
    result = labs(tmp_path, "--name", "full")
    assert result.exit_code == 1
    assert "No space left" in result.stderr
    assert "free some disk space" in result.stderr
    assert stored(tmp_path / "runs" / "full")["labs"]["00_first"]["status"] == "running"


def _explained(write, path, text):
    from labsupport.core.files import explained

    with explained(path):
        write(path, text)


def test_a_file_in_place_of_the_runs_folder_is_a_clear_refusal(tmp_path):
    make_course(tmp_path / "notebooks")
    (tmp_path / "runs").write_text("")
    result = labs(tmp_path)
    assert result.exit_code == 2
    assert "a file stands where a folder is needed" in result.stderr


SWEEP = """from pathlib import Path
from labsupport.records.results import Results
from labsupport.sweep import Sweep

def square(n):
    with Path("../calls").open("a") as calls:
        calls.write("x")
    return {{"square": n * n}}

results = Results("{name}", profile, "made", out=out)
table = Sweep(results.sweeps / "squares.jsonl").run(square, [{{"n": n}} for n in range(3)])
_ = results.table("squares", table)
assert Path("../go").exists()"""


def test_a_lab_that_is_run_again_goes_on_with_its_sweep(tmp_path):
    write_profiles(tmp_path / "notebooks")
    write_lab(tmp_path / "notebooks", "00_first", SWEEP.format(name="00_first"))
    assert labs(tmp_path, "--name", "one").exit_code == 1
    (tmp_path / "runs" / "go").touch()
    assert labs(tmp_path, "--resume").exit_code == 0
    assert (tmp_path / "runs" / "calls").read_text() == "xxx"


def test_the_data_folder_is_absolute_for_the_kernels(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LABS_DATA", "sets")
    assert runner.environment(None, None)["LABS_DATA"] == str(tmp_path / "sets")
    assert runner.environment(Path("/elsewhere"), None)["LABS_DATA"] == "/elsewhere"


def test_the_kernels_are_told_the_scheduler_if_there_is_one():
    assert SCHEDULER not in runner.environment(None, None)
    address = "tcp://127.0.0.1:8786"
    assert runner.environment(None, address)[SCHEDULER] == address


def test_a_scheduler_that_does_not_answer_is_refused_before_a_run_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr("labsupport.sweep.executors.SECONDS", 0.5)
    make_course(tmp_path / "notebooks")
    result = labs(tmp_path, "--scheduler", "tcp://127.0.0.1:9")
    assert result.exit_code == 2
    assert "no Dask scheduler answers at tcp://127.0.0.1:9" in result.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("address", ["nowhere", "ftp://127.0.0.1:1", "127.0.0.1:notaport"])
def test_an_address_that_is_none_is_refused(tmp_path, monkeypatch, address):
    monkeypatch.setattr("labsupport.sweep.executors.SECONDS", 0.5)
    make_course(tmp_path / "notebooks")
    result = labs(tmp_path, "--scheduler", address)
    assert result.exit_code == 2
    assert address in result.stderr
