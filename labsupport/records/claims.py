"""Claims: sentences with a number in them, checked against what was measured."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import Literal

from labsupport.core.errors import LabError

Relation = Literal["==", ">=", "<=", "reported"]

HOLDS: dict[str, Callable[[float, float], bool]] = {
    "==": operator.eq,
    ">=": operator.ge,
    "<=": operator.le,
}


@dataclass(frozen=True)
class Claim:
    """One sentence of a lab's conclusions beside the number that was measured for it.

    `relation` compares `measured` with `bound`; "reported" states a figure without a bound.
    `seed_value` is what the source document reported. A `required` claim that fails makes
    `labs run` end with a non-zero status, so only deterministic or wide-margin claims are
    required. `clocked` marks figures that depend on the machine's speed.
    """

    id: str
    statement: str
    measured: float
    relation: Relation = "reported"
    bound: float | None = None
    required: bool = False
    clocked: bool = False
    seed_value: float | None = None
    source: str = ""

    def __post_init__(self) -> None:
        if (self.relation == "reported") != (self.bound is None):
            raise LabError(
                f"claim {self.id}: relation {self.relation!r} with bound {self.bound!r}",
                'give a bound with "==", ">=" or "<=", and none with "reported"',
            )
        if self.relation == "reported" and self.required:
            raise LabError(f"claim {self.id} is required but has no bound", "give it a bound")

    @property
    def holds(self) -> bool | None:
        """Whether the claim holds; None when it is only reported. NaN never holds."""
        if self.bound is None:
            return None
        return HOLDS[self.relation](float(self.measured), float(self.bound))

    @property
    def verdict(self) -> str:
        """The verdict as a word."""
        return {True: "holds", False: "does not hold", None: "reported"}[self.holds]

    def _repr_html_(self) -> str:
        return html_table([self])


def number(value: float | None) -> str:
    """A number as a reader wants it: integers whole, the rest to four significant digits."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:.4g}"


def html_table(claims: list[Claim]) -> str:
    """Claims as an HTML table: statement, ours, bound, the source's figure, verdict."""
    head = "".join(f"<th>{title}</th>" for title in ("claim", "ours", "aim", "source", "verdict"))
    rows = "".join(f"<tr>{_cells(claim)}</tr>" for claim in claims)
    return f'<table class="claims"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'


def _cells(claim: Claim) -> str:
    aim = "" if claim.bound is None else f"{claim.relation} {number(claim.bound)}"
    source = " ".join(part for part in (number(claim.seed_value), claim.source) if part)
    statement = f"{escape(claim.statement)}<br><code>{escape(claim.id)}</code>"
    texts = [number(claim.measured), aim, source, claim.verdict]
    cells = [statement] + [escape(text) for text in texts]
    return "".join(f'<td style="text-align:left">{cell}</td>' for cell in cells)
