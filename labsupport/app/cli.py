"""The command line: `labs list | run | report | data | doctor | reference | course`.

Exit status: 0 fine, 1 a failed run or problem found, 2 a wrong call, 130 stopped by Ctrl-C.
Nothing heavy is imported before a command needs it, so that `labs --help` answers at once.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from typer.exceptions import TyperException

from labsupport.app.course import course
from labsupport.app.reported import FAILED, WRONG_CALL, reported
from labsupport.core.course import course_root

PROFILES = ("quick", "lab", "full")

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="An executable course in efficient neural networks.",
)

app.add_typer(course, name="course")

RunsDir = Annotated[Path, typer.Option(help="Folder of the runs.")]
Notebooks = Annotated[Path | None, typer.Option(help="Folder of the labs, else the course's own.")]
DataDir = Annotated[
    Path | None,
    typer.Option(exists=True, file_okay=False, resolve_path=True, help="Folder of the data sets."),
]
RunName = Annotated[str | None, typer.Argument(help="Name of a run, else the latest.")]


def main() -> None:
    """The entry point of `labs`: what the parser refuses is reported in one line, like all else."""
    try:
        status = app(standalone_mode=False)
    except TyperException as error:
        message = " ".join(error.format_message().split())
        if message:  # without arguments there is none: the help was shown
            typer.echo(f"labs: {message}", err=True)
        sys.exit(WRONG_CALL)
    sys.exit(status)


@app.command("list")
def list_labs(notebooks: Notebooks = None) -> None:
    """Show the labs, with their minutes in each profile."""
    from labsupport.runs.catalog import read_catalog

    with reported(WRONG_CALL):
        labs = read_catalog(notebooks or course_root() / "notebooks").values()
    width = max(len(lab.name) for lab in labs)
    for lab in labs:
        minutes = [f"{name} {lab.minutes[name]:g} min" for name in PROFILES if name in lab.minutes]
        times = f" ({', '.join(minutes)})" if minutes else ""
        typer.echo(f"{lab.name:{width}}  {lab.title}{times}")


@app.command()
def run(
    profile: Annotated[str | None, typer.Option(help="quick (if none), lab, full, FILE.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="Only this lab (repeatable).")] = None,
    first: Annotated[str | None, typer.Option("--from", help="The first lab to run.")] = None,
    last: Annotated[str | None, typer.Option("--to", help="The last lab to run.")] = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option("-p", metavar="[LAB.]PARAM=VALUE", help="Set a parameter (repeatable)."),
    ] = None,
    data: Annotated[str | None, typer.Option(help="Data set of all labs, as -p data=.")] = None,
    data_dir: DataDir = None,
    name: Annotated[str | None, typer.Option(help="Name of the run, else the time.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume --name, or the latest.")] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Labs at once.")] = 1,
    scheduler: Annotated[
        str | None, typer.Option(envvar="LABS_SCHEDULER", help="Dask scheduler to train on.")
    ] = None,
    timeout: Annotated[int | None, typer.Option(min=1, help="Most seconds of a cell.")] = None,
    report: Annotated[bool, typer.Option(help="Build the report.")] = True,
    runs_dir: RunsDir = Path("runs"),
    notebooks: Notebooks = None,
) -> None:
    """Run the labs in order, then sum up and build the report."""
    from labsupport.runs.prepare import Request, open_run

    request = Request(
        runs=runs_dir,
        notebooks=notebooks or course_root() / "notebooks",
        profile=profile,
        only=only or (),
        first=first,
        last=last,
        assignments=[*([f"data={data}"] if data else []), *(parameter or [])],
        data_dir=data_dir,
        name=name,
        jobs=jobs,
        scheduler=scheduler,
        timeout=timeout,
    )
    with reported(WRONG_CALL), open_run(request, resume) as prepared, reported(FAILED):
        from labsupport.app.session import execute, sum_up  # torch comes along: seconds

        execute(prepared)
        fine = sum_up(prepared, report)
    raise typer.Exit(0 if fine else FAILED)


@app.command("report")
def build(name: RunName = None, runs_dir: RunsDir = Path("runs")) -> None:
    """Build the report of a run: pages that any browser opens, without a network."""
    from labsupport.report import build_report
    from labsupport.runs.record import find_run

    with reported(WRONG_CALL):
        folder = find_run(runs_dir, name)
    with reported(FAILED):
        typer.echo(build_report(folder))


@app.command()
def data(
    name: Annotated[str | None, typer.Argument(help="Data set to get.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Show which data sets are there, or get one."""
    from labsupport.data.sources import SOURCES, check_name, data_folder, fetch

    with reported(WRONG_CALL):
        if name:
            check_name(name)
    with reported(FAILED):
        if name:
            fetch(name, data_dir)
    folder = data_folder(data_dir)
    for known, source in SOURCES.items():
        if name in (None, known):
            there = "there" if source.present(folder) else "absent"
            typer.echo(f"{known:14} {there:7} {source.detail(known, folder)}")


@app.command()
def doctor(runs_dir: RunsDir = Path("runs")) -> None:
    """Check that this machine can run the labs, and say what to do where it cannot."""
    from labsupport.app.doctor import examine

    findings = examine(course_root(), runs_dir)
    typer.echo("\n".join(map(str, findings)))
    raise typer.Exit(FAILED if any(finding.level == "problem" for finding in findings) else 0)


@app.command()
def reference(name: RunName = None, runs_dir: RunsDir = Path("runs")) -> None:
    """Keep the tables of a finished run as the reference results of its profile."""
    from labsupport.runs.record import find_run
    from labsupport.runs.reference import keep_reference

    with reported(WRONG_CALL):
        folder = find_run(runs_dir, name)
    with reported(FAILED):
        kept = keep_reference(folder, course_root())
    typer.echo("\n".join(map(str, kept)))
