"""Claims: sentences of a lab's conclusions, judged by what a run measured for them."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from labsupport.core.errors import LabError
from labsupport.records.definitions import ClaimDefinition, Relation

HOLDS: dict[str, Callable[[float, float], bool]] = {
    "==": operator.eq,
    ">": operator.gt,
    ">=": operator.ge,
    "<=": operator.le,
}


@dataclass(frozen=True)
class Claim:
    """A claim beside the number that one run measured for it.

    `bound` is the aim that counts in this run, `reference` what the committed run on full MNIST
    measured, `figure` what the source reports. `measured` is None where the run's parameters
    leave nothing to measure, and NaN where the lab looked for a number and found none.
    """

    id: str
    statement: str
    measured: float | None
    relation: Relation = "reported"
    bound: float | None = None
    required: bool = False
    clocked: bool = False
    source: str = ""
    figure: float | None = None
    reference: float | None = None

    @property
    def holds(self) -> bool | None:
        """Whether the claim holds; None without an aim or a number. NaN never holds."""
        if self.bound is None or self.measured is None:
            return None
        return HOLDS[self.relation](self.measured, self.bound)

    @property
    def broken(self) -> bool:
        """Whether the claim makes a run fail: required, with an aim, and not shown to hold."""
        return self.required and self.bound is not None and not self.holds

    @property
    def verdict(self) -> str:
        """The verdict as a word."""
        if self.holds is None:
            return "reported" if number(self.measured) else "not measured"
        return "holds" if self.holds else "does not hold"

    @property
    def aim(self) -> str:
        """The aim as a reader wants it, such as ">= 0.98"; empty where there is none."""
        return "" if self.bound is None else f"{self.relation} {number(self.bound)}"


def judge(
    definitions: Mapping[str, ClaimDefinition],
    profile: str | None,
    values: Mapping[str, float | None],
    bounds: Mapping[str, float | None],
    reference: Mapping[str, float],
) -> dict[str, Claim]:
    """Claims by id, each value with its aim; `bounds` are the aims that the run has computed.

    `definitions` has all ids of `values`; `profile` is None where no profile's aims count. Raises
    LabError for a computed aim that is missing, for one of a claim that has its aim already, and
    for a value or an aim that is no number.
    """
    computed = {id for id in values if definitions[id].aim == "computed"}
    differing = ", ".join(sorted(computed ^ set(bounds)))
    if differing:
        raise LabError(
            f"computed aims do not match: {differing}",
            "give `bounds` for the claims whose aim is `computed`, and for no others",
        )
    measured = {id: _as_float(id, value) for id, value in values.items()}
    aims = {id: _as_float(id, bound) for id, bound in bounds.items()}
    for id, aim in aims.items():
        if definitions[id].required and aim is None and measured[id] is not None:
            raise LabError(f"{id} is required and has the aim None", "give a number in `bounds`")
    return {
        id: judged(definitions[id], profile, value, aims.get(id), reference.get(id))
        for id, value in measured.items()
    }


def judged(
    definition: ClaimDefinition,
    profile: str | None,
    value: float | None,
    computed: float | None,
    reference: float | None,
) -> Claim:
    """The claim of a measured value, by the aim of its definition or by the computed one."""
    bound = definition.aim_in(profile) if computed is None else computed
    return Claim(
        measured=value,
        bound=bound,
        relation="reported" if bound is None else definition.relation,
        reference=reference,
        **definition.model_dump(exclude={"aim", "relation"}),
    )


def number(value: float | None) -> str:
    """A number as a reader wants it: integers whole, the rest to four significant digits."""
    if value is None or math.isnan(value):
        return ""
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:.4g}"


def _as_float(id: str, value: float | None) -> float | None:
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError, RuntimeError):  # RuntimeError: a tensor of several numbers
        problem = f"{id} is a {type(value).__name__}, not a number"
        raise LabError(problem, "give None where there is nothing to measure") from None
