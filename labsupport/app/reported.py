"""How a command ends: 0 fine, 1 a failure, 2 a wrong call, and one line that says what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from labsupport.core.errors import LabError

FAILED, WRONG_CALL = 1, 2


@contextmanager
def reported(status: int) -> Iterator[None]:
    """Show a LabError as one line on stderr and end with `status`."""
    try:
        yield
    except LabError as error:
        typer.echo(f"labs: {error}", err=True)
        raise typer.Exit(status) from None
