"""What a run comes to: how its labs fared and which claims hold."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from labsupport.records.claims import number
from labsupport.records.results import read_tables
from labsupport.runs.display import outcome_line
from labsupport.runs.record import RunRecord

VERDICTS = {"True": "holds", "False": "does not hold"}


def summary(run: Path, record: RunRecord) -> list[str]:
    """The lines `labs run` ends with. Raises LabError for claims that cannot be read."""
    labs = [outcome_line(name, lab) for name, lab in record.labs.items()]
    claims = [_claim_line(row) for row in read_tables(run, "claims").to_dict(orient="records")]
    return ["", "Labs", *labs, "", "Claims", *(claims or ["none"]), ""]


def broken_claims(run: Path) -> list[str]:
    """The ids of required claims that do not hold."""
    claims = read_tables(run, "claims")
    if claims.empty:
        return []
    broken = (claims["required"].astype(str) == "True") & (claims["holds"].astype(str) != "True")
    return list(claims.loc[broken, "id"])


def _claim_line(row: Mapping[Hashable, Any]) -> str:
    verdict = VERDICTS.get(str(row["holds"]), "reported")
    aim = "" if pd.isna(row["bound"]) else f", aim {row['relation']} {number(row['bound'])}"
    mark = " (required)" if str(row["required"]) == "True" else ""
    return f"{verdict:13} {row['id']}: {number(row['measured'])}{aim}{mark} - {row['statement']}"
