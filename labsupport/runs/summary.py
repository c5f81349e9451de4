"""What a run comes to: how its labs fared and which claims hold."""

from __future__ import annotations

from pathlib import Path

from labsupport.core.course import course_root
from labsupport.records.claim_table import claim_line, read_claims
from labsupport.records.claims import Claim
from labsupport.records.definitions import read_definitions
from labsupport.records.results import CLAIMS
from labsupport.runs.display import outcome_line
from labsupport.runs.record import RunRecord


def summary(run: Path, record: RunRecord) -> list[str]:
    """The lines `labs run` ends with. Raises LabError for claims that cannot be read."""
    labs = [outcome_line(name, lab) for name, lab in record.labs.items()]
    claims = [claim_line(claim) for claim in _claims(run)]
    return ["", "Labs", *labs, "", "Claims", *(claims or ["none"]), ""]


def broken_claims(run: Path, record: RunRecord) -> list[str]:
    """The ids of required claims that do not hold, or that a finished lab has not given.

    Raises LabError for claims, or definitions of them, that cannot be read.
    """
    claims = _claims(run)
    given = {claim.id for claim in claims}
    done = {name for name, lab in record.labs.items() if lab.status == "done"}
    defined = read_definitions(course_root() / CLAIMS).each()
    owed = [claim.id for lab, claim in defined if lab in done and claim.required]
    return [claim.id for claim in claims if claim.broken] + [id for id in owed if id not in given]


def _claims(run: Path) -> list[Claim]:
    return [claim for claims in read_claims(run, course_root()).values() for claim in claims]
