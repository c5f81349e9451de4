"""What a run comes to: how its labs fared and which claims hold."""

from __future__ import annotations

from pathlib import Path

from labsupport.core.course import course_root
from labsupport.records.claim_table import claim_line, read_claims
from labsupport.records.claims import Claim
from labsupport.runs.display import outcome_line
from labsupport.runs.record import RunRecord


def summary(run: Path, record: RunRecord) -> list[str]:
    """The lines `labs run` ends with. Raises LabError for claims that cannot be read."""
    labs = [outcome_line(name, lab) for name, lab in record.labs.items()]
    claims = [claim_line(claim) for claim in _claims(run)]
    return ["", "Labs", *labs, "", "Claims", *(claims or ["none"]), ""]


def broken_claims(run: Path) -> list[str]:
    """The ids of required claims that do not hold."""
    return [claim.id for claim in _claims(run) if claim.broken]


def _claims(run: Path) -> list[Claim]:
    return [claim for claims in read_claims(run, course_root()).values() for claim in claims]
