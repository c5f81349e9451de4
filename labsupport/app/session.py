"""A run from its first line to its report, as the user sees it."""

from __future__ import annotations

from collections.abc import Iterator

import typer
from rich.console import Console

from labsupport.runs import conditions
from labsupport.runs.display import Display
from labsupport.runs.prepare import Prepared
from labsupport.runs.runner import Runner
from labsupport.runs.summary import summary


def execute(prepared: Prepared) -> None:
    """Run the labs of a run that are still to be done, and show how each ends.

    Raises LabError when the record of the run cannot be written.
    """
    run, record = prepared.run, prepared.record
    display = Display(Console())
    with display.live:
        for line in notes(prepared):
            display.line(line)
        try:
            machine = conditions.machine()
            Runner(run, record, prepared.catalog, prepared.request, machine, display)()
        except KeyboardInterrupt:
            remedy = f"continue with `labs run --resume --name {record.name}`"
            typer.echo(f"labs: stopped; {remedy}", err=True)
            raise


def notes(prepared: Prepared) -> Iterator[str]:
    """What is worth knowing before a run."""
    record, jobs = prepared.record, prepared.request.jobs
    yield f"run {record.name}, profile {record.profile}, {len(record.labs)} labs"
    if jobs > 1:
        yield f"{jobs} labs share this machine: their clocked columns are not reliable"
    for name, reason in prepared.again.items():
        yield f"{name} runs again: {reason}"
    for name in record.labs:
        if absent := [need for need in prepared.catalog[name].needs if need not in record.labs]:
            yield f"{name} builds on {', '.join(absent)}, which this run leaves out"


def sum_up(prepared: Prepared, report: bool) -> bool:
    """Print how a run ended and build its report; whether nothing failed.

    Raises LabError for claims that cannot be read and a report that cannot be built.
    """
    run, record = prepared.run, prepared.record
    lines, broken = summary(run, record)
    typer.echo("\n".join(lines))
    if broken:
        names = ", ".join(broken)
        typer.echo(f"labs: required claims do not hold or are absent: {names}", err=True)
    if record.failed:
        again = f"labs run --resume --name {record.name}"
        typer.echo(f"labs: `{again}` runs the failed labs again", err=True)
    if report:
        from labsupport.report import build_report  # takes a second

        typer.echo(f"report: {build_report(run)}")
    return not (broken or record.failed)
