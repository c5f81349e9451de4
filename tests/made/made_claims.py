"""Made definitions of claims, and a made reference, in the places where a course keeps them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import yaml

from labsupport.records.definitions import CLAIMS
from labsupport.records.reference import REFERENCE
from labsupport.records.tables import write_table

DATASETS = {"quick": "mnist5k", "lab": "mnist"}


def write_definitions(course: Path, labs: dict, datasets: dict | None = None) -> Path:
    """Write the file of claims of a made course and give it back."""
    path = course / CLAIMS
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"datasets": datasets or DATASETS, "labs": labs}
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def write_reference(course: Path, lab: str, figures: dict[str, float]) -> None:
    """Write what a made reference measured for the claims of a lab."""
    frame = pd.DataFrame({"id": figures.keys(), "measured": figures.values()})
    write_table(course / REFERENCE / lab / "claims.csv", frame)
