"""Tables on disk: CSV, each file whole or absent, and their part that repeats exactly."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd

from labsupport.core.csv_text import guarded, revealed
from labsupport.core.errors import LabError
from labsupport.core.files import write_text
from labsupport.records.scorecard import is_clocked


def write_table(path: Path, frame: pd.DataFrame) -> None:
    """Write a table as CSV, whole or not at all; no spreadsheet computes its cells."""
    write_text(path, guarded(frame.to_csv(index=False)))


def read_table(path: Path) -> pd.DataFrame:
    """A table from disk. Raises LabError when it is absent or is no CSV."""
    try:
        text = path.read_bytes().decode()  # with line ends as they are, also within a cell
        return pd.read_csv(io.StringIO(revealed(text)))
    except (OSError, ValueError) as error:
        raise LabError(f"{path} is not a table: {error}", "run the lab again") from error


def read_tables(out: Path, name: str) -> pd.DataFrame:
    """The tables called `name` of all labs in a run's folder, one under the other.

    Raises LabError for a table that cannot be read.
    """
    frames = [read_table(path) for path in sorted((out / "tables").glob(f"*/{name}.csv"))]
    frames = [frame for frame in frames if len(frame)]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def counted(frame: pd.DataFrame) -> pd.DataFrame:
    """The part of a table that repeats exactly: without clocked columns and clocked claims."""
    if "clocked" in frame:
        frame = frame[~frame["clocked"].astype(bool)]
    return frame[[column for column in frame if not is_clocked(str(column))]].reset_index(drop=True)


def counted_tables(out: Path) -> dict[str, pd.DataFrame]:
    """Every table of a run, by `LAB/NAME`, without what depends on the machine's speed."""
    paths = sorted((out / "tables").glob("*/*.csv"))
    return {f"{path.parent.name}/{path.stem}": counted(read_table(path)) for path in paths}
