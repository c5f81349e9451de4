from __future__ import annotations

import subprocess
import sys

import pytest
from made_course import make_course, write_lab
from typer.testing import CliRunner

from labsupport.app import cli, doctor
from labsupport.core.errors import LabError
from labsupport.runs.record import LabRecord, RunRecord, write_record


@pytest.fixture
def course(tmp_path):
    return make_course(tmp_path / "notebooks")


def call(*arguments):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def made_record(runs, status):
    """The record of a run called one, with one lab."""
    labs = {"00_first": LabRecord(status=status)}
    record = RunRecord(name="one", profile="quick", started="2026-01-01T00:00:00", labs=labs)
    write_record(runs / "one", record)


def main(monkeypatch, *arguments):
    """The exit status of `labs` as the shell calls it."""
    monkeypatch.setattr(sys, "argv", ["labs", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return caught.value.code


def test_help_and_list_load_nothing_heavy_and_reports_no_sphinx_before_they_are_built(course):
    code = (
        "import sys; from labsupport.app.cli import app\n"
        "for arguments in (['--help'], ['run', '--help'], ['list', '--notebooks', sys.argv[1]]):\n"
        "    app(arguments, standalone_mode=False)\n"
        "heavy = {'torch', 'pandas', 'matplotlib', 'nbformat', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "import labsupport.report\n"
        "assert 'sphinx' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(course)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Title of 01_second" in done.stdout


def test_list_shows_titles_and_minutes(course):
    lines = call("list", "--notebooks", course).output.splitlines()
    assert lines[0] == "00_first   Title of 00_first (quick 0.5 min, lab 3 min)"
    assert len(lines) == 2


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--profile", "fast"], "profiles are: lab, quick"),
        (["--only", "7"], "00_first, 01_second"),
        (["-p", "0.sed=1"], "00_first has no parameter sed"),
        (["-p", "0.seed=x"], "seed=x: Input should be a valid integer"),
        (["-p", "0.seed=100"], "less than or equal to 99"),
        (["-p", "0.schedule=cosine"], "'onecycle' or 'constant'"),
        (["-p", "1.seed=1", "--only", "0"], "no lab has the name or number '1'"),
        (["--data", "mnist"], "no lab has a parameter data"),
        (["--name", "../x"], "cannot name a run"),
        (["--resume"], "there is no run"),
        (["--resume", "--name", "gone"], "holds no run"),
    ],
)
def test_a_wrong_call_ends_in_one_line_with_status_2_and_leaves_nothing(
    course, tmp_path, arguments, named
):
    runs = tmp_path / "runs"
    result = call("run", "--notebooks", course, "--runs-dir", runs, *arguments)
    assert result.exit_code == 2
    assert named in result.stderr
    assert result.stderr.startswith("labs: ")
    assert len(result.stderr.splitlines()) == 1
    assert not runs.exists()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["run", "--jobs", "0"], "--jobs"),
        (["run", "--timeout", "x"], "--timeout"),
        (["run", "--fast"], "--fast"),
        (["run", "--data-dir", "nowhere"], "nowhere"),
        (["run", "--name"], "--name"),
        (["rum"], "rum"),
        (["list", "too", "much"], "too much"),
    ],
)
def test_what_the_parser_refuses_is_one_line_with_status_2(monkeypatch, capsys, arguments, named):
    assert main(monkeypatch, *arguments) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("labs: ")
    assert named in told.err
    assert len(told.err.splitlines()) == 1


def test_without_arguments_the_help_is_all_that_is_shown(monkeypatch, capsys):
    assert main(monkeypatch) == 2
    told = capsys.readouterr()
    assert "Usage" in told.out
    assert told.err == ""


def test_the_entry_point_passes_on_how_a_command_ended(monkeypatch, course, tmp_path):
    monkeypatch.setattr(doctor, "examine", lambda *_: [doctor.Finding("problem", "a", "b", "c")])
    assert main(monkeypatch, "doctor") == 1
    assert main(monkeypatch, "report", "--runs-dir", str(tmp_path)) == 2
    assert not main(monkeypatch, "list", "--notebooks", str(course))


def test_ctrl_c_anywhere_ends_with_130(monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(doctor, "examine", interrupted)
    assert main(monkeypatch, "doctor") == 130


def test_needs_that_make_no_sense_are_refused_before_anything_runs(course, tmp_path):
    write_lab(course, "02_third", needs=["02_third"])
    result = call("run", "--notebooks", course, "--runs-dir", tmp_path / "runs")
    assert result.exit_code == 2
    assert "circle" in result.stderr


@pytest.mark.parametrize("command", ["report", "reference"])
def test_commands_on_a_run_refuse_one_that_is_not_there(tmp_path, command):
    result = call(command, "gone", "--runs-dir", tmp_path)
    assert result.exit_code == 2
    assert "holds no run" in result.stderr


def test_data_shows_what_is_there(tmp_path):
    lines = call("data", "--data-dir", tmp_path).output.splitlines()
    found = {line.split()[0]: line.split()[1] for line in lines}
    assert found["mnist5k"] == "there"
    assert found["mnist"] == "absent"
    unknown = call("data", "mnits", "--data-dir", tmp_path)
    assert unknown.exit_code == 2
    assert "mnist5k" in unknown.stderr


def failing(*_):
    raise LabError("no network")


def test_work_that_fails_ends_with_1_after_a_right_call(monkeypatch, tmp_path):
    import labsupport.data.sources
    import labsupport.report

    made_record(tmp_path, "pending")
    monkeypatch.setattr(labsupport.data.sources, "fetch", failing)
    monkeypatch.setattr(labsupport.report, "build_report", failing)
    runs = ["--runs-dir", tmp_path]
    for arguments in (["data", "mnist"], ["report", *runs], ["reference", "one", *runs]):
        result = call(*arguments)
        assert result.exit_code == 1
        assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(("level", "status"), [("ok", 0), ("warning", 0), ("problem", 1)])
def test_doctor_exits_with_one_only_for_a_problem(monkeypatch, level, status):
    findings = [doctor.Finding("ok", "Python", "new"), doctor.Finding(level, "disk", "so", "do")]
    monkeypatch.setattr(doctor, "examine", lambda *_: findings)
    result = call("doctor")
    assert result.exit_code == status
    assert result.output.splitlines()[1] == f"{level:8} disk: so -> do"


def test_report_builds_that_of_the_latest_run(monkeypatch, tmp_path):
    import labsupport.report

    made_record(tmp_path, "done")
    monkeypatch.setattr(labsupport.report, "build_report", lambda run: run / "index.html")
    assert call("report", "--runs-dir", tmp_path).output.strip() == str(tmp_path / "one/index.html")
