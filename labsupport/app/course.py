"""The commands of a teacher: `labs course release | grade`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from labsupport.app.reported import FAILED, WRONG_CALL, reported
from labsupport.core.course import course_root
from labsupport.core.errors import LabError

if TYPE_CHECKING:
    from labsupport.coursework.course import Course
    from labsupport.coursework.grade import Graded

course = typer.Typer(no_args_is_help=True, help="Hand out labs, and grade what comes back.")

Overlay = Annotated[Path | None, typer.Option(help="Folder of your own exercises.")]
Notebooks = Annotated[Path | None, typer.Option(help="Folder of the labs, else the course's own.")]
Folder = Annotated[Path, typer.Option("--to", help="Folder to write to.")]


@course.command()
def release(
    to: Folder,
    labs: Annotated[list[str] | None, typer.Argument(metavar="[LAB]...", help="Else all.")] = None,
    overlay: Overlay = None,
    notebooks: Notebooks = None,
) -> None:
    """Write student versions of labs, without answers, and a ZIP of each."""
    with reported(WRONG_CALL):
        found = the_course(notebooks, overlay)
        chosen = found.select(labs or [])
    with reported(FAILED):
        for notebook in chosen:
            typer.echo(found.release(notebook, to).archive)


@course.command()
def grade(
    submissions: Annotated[Path, typer.Argument(help="Folder of the students' notebooks.")],
    to: Folder,
    lab: Annotated[str | None, typer.Option(help="Lab, else what the notebooks say.")] = None,
    overlay: Overlay = None,
    cell_seconds: Annotated[int, typer.Option(min=1, help="Most seconds of a cell.")] = 60,
    seconds: Annotated[int, typer.Option(min=1, help="Most seconds of a submission.")] = 300,
    memory: Annotated[float, typer.Option(min=0.1, help="Most GB of a submission.")] = 4.0,
    jobs: Annotated[int, typer.Option(min=1, help="Submissions at once.")] = 2,
    notebooks: Notebooks = None,
) -> None:
    """Run students' notebooks, with limits but no sandbox: points, predictions, feedback."""
    with reported(WRONG_CALL):
        found = the_course(notebooks, overlay)
        from labsupport.coursework.course import open_grading
        from labsupport.coursework.processes import Limits

        limits = Limits(cell_seconds, seconds, int(memory * 2**30))
        grading = open_grading(found, submissions, lab, limits, jobs)
    with reported(FAILED):
        typer.echo(f"{grading.lab}: {len(grading.submissions)} submissions")
        grading(to, tell)
        typer.echo(to / "points.csv")


def the_course(notebooks: Path | None, overlay: Path | None) -> Course:
    """The course that is handed out. Raises LabError where nbgrader is not installed."""
    try:
        from labsupport.coursework.course import Course  # nbgrader comes along: seconds
    except ModuleNotFoundError as error:
        remedy = 'install what teachers need: pip install -e ".[course]"'
        raise LabError(f"{error.name} is not installed", remedy) from error
    return Course(notebooks or course_root() / "notebooks", course_root(), overlay)


def tell(graded: Graded) -> None:
    """Show how a submission did, in one line whatever its name holds."""
    outcome = graded.problem or f"{graded.points:g} points"
    typer.echo("".join(c if c.isprintable() else "?" for c in f"{graded.student}: {outcome}"))
