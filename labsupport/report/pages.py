"""The pages of a site that are not notebooks: templates filled with a run's record and tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from labsupport.core.course import course_root
from labsupport.records.claim_table import read_claims
from labsupport.records.claims import Claim, number
from labsupport.records.predictions import read_predictions
from labsupport.records.tables import read_tables
from labsupport.runs.conditions import mixture, values_by_name
from labsupport.runs.record import RunRecord

# What of the machine report stands on the front page, and how.
HEADLINE = {
    "processor model": "{}",
    "processor cores we may use": "{} cores",
    "memory RAM": "{}",
    "accelerator GPU 0": "{}",
}
TEMPLATES = Environment(
    loader=PackageLoader("labsupport.report"),
    autoescape=lambda name: bool(name) and str(name).endswith(".html"),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
TEMPLATES.filters["number"] = number
CHART = "chart.html"  # no fragment of a page, but what a chart of a notebook becomes


@dataclass(frozen=True)
class Content:
    """What a site is made of: a record, notebooks in order, a folder with `tables/LAB/*.csv`."""

    record: RunRecord
    notebooks: list[Path]
    folder: Path


def write_pages(content: Content, folder: Path) -> None:
    """Write the front, predictions and machine pages and their fragments as Sphinx sources.

    Raises LabError for tables that cannot be read.
    """
    claims, ran_with = read_claims(content.folder, course_root()), content.record.conditions
    scorecards = read_tables(content.folder, "scorecards")
    values = {
        "record": content.record,
        "facts": run_facts(content.record),
        "problems": problems(content.record, list(chain(*claims.values()))),
        "pages": [notebook.stem for notebook in content.notebooks],
        "claims": claims,
        "predictions": read_predictions(content.folder),
        "scorecards": shown_scorecards(scorecards),
        "figures": list(scorecards.select_dtypes("number")),
        "tables": sorted((content.folder / "tables").glob("*/*.csv")),
        "versions": values_by_name({lab: ran.versions for lab, ran in ran_with.items()}),
        "machine": values_by_name({lab: ran.machine_items for lab, ran in ran_with.items()}),
    }
    for name in TEMPLATES.list_templates(filter_func=lambda name: name != CHART):
        text = TEMPLATES.get_template(name).render(values)
        (folder / name).write_text(text, encoding="utf-8")


def run_facts(record: RunRecord) -> list[str]:
    """What a run was: its profile, when it began, to the minute, and its machine, or machines."""
    started = record.started.replace("T", " ")[:16]
    machines = [machine_line(ran.machine_items) for ran in record.conditions.values()]
    return [f"{record.profile} profile", started, *filter(None, dict.fromkeys(machines))]


def problems(record: RunRecord, claims: list[Claim]) -> list[str]:
    """What went wrong, in sentences; nothing when all is well."""
    failed = [claim for claim in claims if claim.holds is False]
    kinds = {
        "Failed labs": [name for name, lab in record.labs.items() if lab.status == "failed"],
        "Required claims that do not hold": [claim.id for claim in failed if claim.broken],
        "Other claims that do not hold": [claim.id for claim in failed if not claim.broken],
    }
    found = [f"{kind}: {', '.join(names)}" for kind, names in kinds.items() if names]
    mixed = [f"{text[0].upper()}{text[1:]}" for text in mixture(record.conditions)]
    return [f"{sentence}." for sentence in found + mixed]


def shown_scorecards(frame: pd.DataFrame) -> pd.DataFrame:
    """Scorecards as texts, without columns that are empty, nor a profile that all share."""
    frame = frame.dropna(axis="columns", how="all")
    if "profile" in frame and frame["profile"].nunique() == 1:
        frame = frame.drop(columns="profile")
    figures = frame.select_dtypes("number")
    return frame.assign(**figures.map(number)).fillna("")


def machine_line(machine: Mapping[str, str]) -> str:
    """A machine in a few words: processor, cores, memory, accelerator."""
    return ", ".join(form.format(machine[n]) for n, form in HEADLINE.items() if machine.get(n))
