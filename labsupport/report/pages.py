"""The pages of a site that are not notebooks: templates filled with a run's record and tables."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from labsupport.core.course import course_root
from labsupport.records.claim_table import read_claims
from labsupport.records.claims import Claim, number
from labsupport.records.tables import read_tables
from labsupport.runs.record import LabRecord, RunRecord

TEXT_COLUMNS = ("lab", "method", "variant", "dataset", "profile")
# What of the machine report stands on the front page, by group and item, and how.
HEADLINE = {
    ("processor", "model"): "{}",
    ("processor", "cores we may use"): "{} cores",
    ("memory", "RAM"): "{}",
    ("accelerator", "GPU 0"): "{}",
}
TEMPLATES = Environment(
    loader=PackageLoader("labsupport.report"),
    autoescape=lambda name: bool(name) and str(name).endswith(".html"),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
TEMPLATES.filters["number"] = number
PAGES = ("index.md", "machine.md")
FRAGMENTS = ("facts", "labs", "claims", "scorecards", "tables", "versions", "machine")


@dataclass(frozen=True)
class Content:
    """What a site is made of: a record, notebooks in order, a folder with `tables/LAB/*.csv`."""

    record: RunRecord
    notebooks: list[Path]
    folder: Path


def write_pages(content: Content, folder: Path) -> None:
    """Write the front page, the machine page and their HTML fragments as Sphinx sources.

    Raises LabError for tables that cannot be read.
    """
    claims = read_claims(content.folder, course_root())
    values = {
        "record": content.record,
        "facts": run_facts(content.record),
        "problems": problems(content.record.labs, list(chain(*claims.values()))),
        "pages": [notebook.stem for notebook in content.notebooks],
        "claims": claims,
        "scorecards": scorecard_texts(read_tables(content.folder, "scorecards")),
        "text_columns": TEXT_COLUMNS,
        "tables": sorted((content.folder / "tables").glob("*/*.csv")),
        "machine": pd.DataFrame(content.record.machine),
    }
    for name in (*PAGES, *(f"{fragment}.html" for fragment in FRAGMENTS)):
        text = TEMPLATES.get_template(name).render(values)
        (folder / name).write_text(text, encoding="utf-8")


def run_facts(record: RunRecord) -> list[str]:
    """What a run was: its profile, when it began, to the minute, and the machine."""
    started = record.started.replace("T", " ")[:16]
    facts = (f"{record.profile} profile", started, machine_line(record.machine))
    return [fact for fact in facts if fact]


def problems(labs: Mapping[str, LabRecord], claims: list[Claim]) -> list[str]:
    """What went wrong, in sentences; nothing when all is well."""
    failed = [claim for claim in claims if claim.holds is False]
    kinds = {
        "Failed labs": [name for name, lab in labs.items() if lab.status == "failed"],
        "Required claims that do not hold": [claim.id for claim in failed if claim.broken],
        "Other claims that do not hold": [claim.id for claim in failed if not claim.broken],
    }
    return [f"{kind}: {', '.join(names)}." for kind, names in kinds.items() if names]


def scorecard_texts(frame: pd.DataFrame) -> pd.DataFrame:
    """Scorecards for reading: no empty columns, and each column with decimals that suit it."""
    frame = frame.dropna(axis="columns", how="all")
    if "profile" in frame and frame["profile"].nunique() == 1:
        frame = frame.drop(columns="profile")
    return frame.apply(column_texts)


def column_texts(column: pd.Series[Any]) -> pd.Series[str]:
    """A column as texts: thousands apart, and as many decimals as give its largest number four
    significant digits; whole numbers stay whole and what is missing stays empty.
    """
    if not pd.api.types.is_numeric_dtype(column):
        return column.fillna("").astype(str)
    known = column.dropna()
    decimals = 0 if (known == known.round()).all() else _decimals(float(known.abs().max()))
    return column.map(lambda value: "" if pd.isna(value) else f"{value:,.{decimals}f}")


def _decimals(largest: float) -> int:
    return max(0, 3 - math.floor(math.log10(largest))) if math.isfinite(largest) else 4


def machine_line(machine: list[dict[str, str]]) -> str:
    """The machine in a few words: processor, cores, memory, accelerator."""
    items = {(row.get("group"), row.get("item")): row.get("value") for row in machine}
    return ", ".join(form.format(items[key]) for key, form in HEADLINE.items() if items.get(key))
