"""The pages of a site that are not notebooks: templates filled with a run's record and tables."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
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
FRAGMENTS = ("facts", "labs", "claims", "scorecards", "tables", "versions", "machine")


@dataclass(frozen=True)
class Content:
    """What a site is made of: a record, notebooks in order, a folder with `tables/LAB/*.csv`."""

    record: RunRecord
    notebooks: list[Path]
    folder: Path


@dataclass(frozen=True)
class Grid:
    """A table ready to be shown: columns as (title, numeric), rows of texts under lab names."""

    columns: list[tuple[str, bool]]
    groups: list[tuple[str, list[list[str]]]]


def write_pages(content: Content, folder: Path) -> None:
    """Write the front page, the machine page and their HTML fragments as Sphinx sources."""
    environment = Environment(
        loader=PackageLoader("labsupport.report"),
        autoescape=lambda name: bool(name) and str(name).endswith(".html"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "megabytes": megabytes}
    values = page_values(content)
    for name in ("index.md", "machine.md", *(f"{fragment}.html" for fragment in FRAGMENTS)):
        text = environment.get_template(name).render(values)
        (folder / name).write_text(text, encoding="utf-8")


def page_values(content: Content) -> dict[str, Any]:
    """What the templates speak of. Raises LabError for tables that cannot be read."""
    record, claims = content.record, read_claims(content.folder, course_root())
    tables = sorted((content.folder / "tables").glob("*/*.csv"))
    return {
        "record": record,
        "facts": facts(record),
        "summary": summary(record.labs, [claim for items in claims.values() for claim in items]),
        "pages": [notebook.stem for notebook in content.notebooks],
        "claims": claims,
        "scorecards": scorecard_grid(read_tables(content.folder, "scorecards")),
        "tables": _by_lab(tables),
        "machine": _grouped(record.machine, "group"),
        "shown": _shown(record.labs),
    }


def facts(record: RunRecord) -> list[str]:
    """What a run was: its profile, when it began, to the minute, and the machine."""
    began = record.started.replace("T", " ")[:16]
    told = (f"{record.profile} profile", began, machine_line(record.machine))
    return [fact for fact in told if fact]


def summary(labs: Mapping[str, LabRecord], claims: list[Claim]) -> list[str]:
    """What went wrong, in sentences; nothing when all is well."""
    failed = [name for name, lab in labs.items() if lab.status == "failed"]
    fallen = [claim.id for claim in claims if claim.holds is False]
    required = [claim.id for claim in claims if claim.broken]
    told = [
        ("Failed labs", failed),
        ("Required claims that do not hold", required),
        ("Other claims that do not hold", [id for id in fallen if id not in required]),
    ]
    return [f"{what}: {', '.join(names)}." for what, names in told if names]


def scorecard_grid(frame: pd.DataFrame) -> Grid:
    """Scorecards for reading: no empty columns, and each column with decimals that suit it."""
    if frame.empty:
        return Grid([], [])
    frame = frame.dropna(axis="columns", how="all")
    labs = frame["lab"].tolist()
    frame = frame.drop(columns=["lab", *(["profile"] if frame["profile"].nunique() == 1 else [])])
    columns = [(str(name).replace("_", " "), name not in TEXT_COLUMNS) for name in frame]
    texts = [column_texts(frame[name]) for name in frame]
    rows = list(zip(labs, map(list, zip(*texts, strict=True)), strict=True))
    return Grid(
        columns,
        [(lab, [row for _, row in pairs]) for lab, pairs in groupby(rows, lambda pair: pair[0])],
    )


def column_texts(column: pd.Series[Any]) -> list[str]:
    """A column as texts: thousands apart, and as many decimals as give its largest number four
    significant digits; whole numbers stay whole and what is missing stays empty.
    """
    if not pd.api.types.is_numeric_dtype(column):
        return ["" if pd.isna(value) else str(value) for value in column]
    known = column.dropna()
    decimals = 0 if (known == known.round()).all() else _decimals(float(known.abs().max()))
    return ["" if pd.isna(value) else f"{value:,.{decimals}f}" for value in column]


def _decimals(largest: float) -> int:
    return max(0, 3 - math.floor(math.log10(largest))) if math.isfinite(largest) else 4


def megabytes(size: float | None) -> str:
    """Bytes as whole megabytes (10^6)."""
    return "" if size is None else f"{size / 1e6:,.0f} MB"


def machine_line(machine: list[dict[str, str]]) -> str:
    """The machine in a few words: processor, cores, memory, accelerator."""
    told = {(row.get("group"), row.get("item")): row.get("value") for row in machine}
    return ", ".join(form.format(told[key]) for key, form in HEADLINE.items() if told.get(key))


def _grouped(rows: list[dict[str, str]], key: str) -> list[tuple[str, list[dict[str, str]]]]:
    return [(name, list(items)) for name, items in groupby(rows, lambda row: row.get(key, ""))]


def _by_lab(tables: Iterable[Path]) -> dict[str, list[str]]:
    return {
        lab: [path.stem for path in paths]
        for lab, paths in groupby(tables, lambda path: path.parent.name)
    }


def _shown(labs: Mapping[str, LabRecord]) -> list[str]:
    """The measured columns of the table of labs that tell something."""
    return [
        name
        for name in ("seconds", "peak_memory_bytes")
        if any(getattr(lab, name) is not None for lab in labs.values())
    ]
