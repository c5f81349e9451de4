"""The reference: the committed tables of the last measured run of each lab on full MNIST."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from labsupport.core.errors import LabError
from labsupport.records.tables import read_table

REFERENCE = Path("data/reference/lab")


def reference_table(course: Path, lab: str, name: str) -> pd.DataFrame:
    """The reference's table `name` of a lab. Raises LabError, with what there is, for no such."""
    folder = course / REFERENCE / lab
    path = folder / f"{name}.csv"
    if not path.is_file():
        known = ", ".join(sorted(found.stem for found in folder.glob("*.csv")))
        raise LabError(f"the reference of {lab} has no table {name}", f"it has: {known or 'none'}")
    return read_table(path)


def reference_figures(course: Path, lab: str) -> dict[str, float]:
    """What the reference measured for a lab's claims, by id; nothing for a lab it has not."""
    if not (course / REFERENCE / lab / "claims.csv").is_file():
        return {}
    claims = reference_table(course, lab, "claims").dropna(subset=["measured"])
    return dict(zip(claims["id"].astype(str), claims["measured"].astype(float), strict=True))
