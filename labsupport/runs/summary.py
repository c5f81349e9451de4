"""What a run comes to: how its labs fared and which claims hold."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

from labsupport.core.course import course_root
from labsupport.records.claim_table import claim_line, read_claims
from labsupport.records.definitions import CLAIMS, read_definitions
from labsupport.runs.display import outcome_line
from labsupport.runs.record import RunRecord


def summary(run: Path, record: RunRecord) -> tuple[list[str], list[str]]:
    """The lines that `labs run` ends with, and the ids of the claims that break the run.

    These are required, and do not hold or were not given by a finished lab.
    Raises LabError for claims, or definitions of them, that cannot be read.
    """
    claims = list(chain(*read_claims(run, course_root()).values()))
    verdicts = [claim_line(claim) for claim in claims] or ["none"]
    labs = [outcome_line(name, lab) for name, lab in record.labs.items()]
    given = {claim.id for claim in claims}
    done = {name for name, lab in record.labs.items() if lab.status == "done"}
    defined = read_definitions(course_root() / CLAIMS).each()
    owed = [claim.id for lab, claim in defined if lab in done and claim.required]
    broken = [claim.id for claim in claims if claim.broken]
    lines = ["", "Labs", *labs, "", "Claims", *verdicts, ""]
    return lines, broken + [id for id in owed if id not in given]
