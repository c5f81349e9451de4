"""Claims as one table: shown in a notebook, and as rows of claims.csv."""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from labsupport.core.errors import LabError
from labsupport.records.claims import Claim, judged, number
from labsupport.records.definitions import (
    CLAIMS,
    ClaimDefinition,
    ClaimDefinitions,
    read_definitions,
)
from labsupport.records.reference import reference_figures
from labsupport.records.tables import read_table

COLUMNS = [
    *("id", "lab", "statement", "measured", "relation", "bound", "holds", "required"),
    *("seed_value", "source", "profile", "dataset", "clocked"),
]
TITLES = ("claim", "this run", "reference", "aim", "source", "verdict")


@dataclass(frozen=True)
class ClaimTable:
    """Claims side by side: this run, the reference, the aim, the source's figure, the verdict."""

    claims: list[Claim]

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{title}</th>" for title in TITLES)
        rows = "".join(f"<tr>{_html_cells(claim)}</tr>" for claim in self.claims)
        return f'<table class="claims"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'

    def __repr__(self) -> str:
        return "\n".join(claim_line(claim) for claim in self.claims)


def _html_cells(claim: Claim) -> str:
    statement = f"{escape(claim.statement)}<br><code>{escape(claim.id)}</code>"
    source = " ".join(part for part in (number(claim.figure), claim.source) if part)
    numbers = (number(claim.measured), number(claim.reference))
    cells = [statement, *map(escape, (*numbers, claim.aim, source, claim.verdict))]
    return "".join(f'<td style="text-align:left">{cell}</td>' for cell in cells)


def claim_line(claim: Claim) -> str:
    """A claim as one line of text."""
    numbers = {"reference": number(claim.reference), claim.source: number(claim.figure)}
    beside = {"aim": claim.aim} | numbers
    figures = [number(claim.measured), *(f"{name} {text}" for name, text in beside.items() if text)]
    mark = " (required)" if claim.required else ""
    return f"{claim.verdict:13} {claim.id}: {', '.join(figures)}{mark} - {claim.statement}"


def claim_frame(claims: list[Claim], lab: str, profile: str, dataset: str) -> pd.DataFrame:
    """A lab's claims as rows of claims.csv; `seed_value` is the source's figure."""
    rows = [
        {**vars(claim), "holds": claim.holds, "seed_value": claim.figure}
        | {"lab": lab, "profile": profile, "dataset": dataset}
        for claim in claims
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def read_claims(out: Path, course: Path) -> dict[str, list[Claim]]:
    """The claims of a run's folder by lab, beside the course's reference.

    Of a run only the numbers count that it measured or computed: an aim that has been raised since
    is judged anew, and a claim that the course no longer makes is left out. Raises LabError where a
    table of claims or the file of definitions is damaged.
    """
    paths = {path.parent.name: path for path in sorted((out / "tables").glob("*/claims.csv"))}
    if not paths:
        return {}
    definitions = read_definitions(course / CLAIMS)
    return {
        lab: lab_claims(path, lab, definitions, reference_figures(course, lab))
        for lab, path in paths.items()
    }


def lab_claims(
    path: Path, lab: str, definitions: ClaimDefinitions, reference: dict[str, float]
) -> list[Claim]:
    """The claims of one lab's table, as `read_claims` reads them, beside reference figures by id.

    Raises LabError for a damaged table.
    """
    of_lab = definitions.of(lab)
    try:
        rows = read_table(path)[COLUMNS].to_dict("records")
        known = [{k: None if pd.isna(value) else value for k, value in row.items()} for row in rows]
        return [
            _claim(row, of_lab[row["id"]], definitions, reference.get(row["id"]))
            for row in known
            if row["id"] in of_lab
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise LabError(f"damaged claims in {path}: {error}", "run the lab again") from error


def _claim(
    row: dict[Hashable, Any],
    definition: ClaimDefinition,
    definitions: ClaimDefinitions,
    reference: float | None,
) -> Claim:
    """The claim of a row; one with a verdict but no number was looked for and not found."""
    missing = None if row["holds"] is None else math.nan
    measured = missing if row["measured"] is None else float(row["measured"])
    computed = row["bound"] if definition.aim == "computed" else None
    profile = definitions.profile_with_aims(row["lab"], row["profile"], row["dataset"])
    bound = None if computed is None else float(computed)
    return judged(definition, profile, measured, bound, reference)
