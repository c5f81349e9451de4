"""What the labs conclude: the definitions of all claims, read from notebooks/claims.yaml."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from labsupport.core.errors import LabError

CLAIMS = Path("notebooks/claims.yaml")  # in the folder of the course
Relation = Literal["==", ">", ">=", "<=", "reported"]


class _Strict(BaseModel):
    """A record that refuses unknown keys, values of another type, and numbers that are none."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class ClaimDefinition(_Strict):
    """One entry of notebooks/claims.yaml; the comment there explains the fields."""

    id: str
    statement: str
    relation: Relation = "reported"
    aim: float | dict[str, float] | Literal["computed"] | None = None
    required: bool = False
    clocked: bool = False
    source: str = ""
    figure: float | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.aim == {}:
            raise ValueError("an aim by profile needs a profile")
        if self.required and self.aim is None:
            raise ValueError("a required claim needs an aim")
        if (self.relation == "reported") != (self.aim is None):
            raise ValueError("a relation needs an aim, and an aim a relation")
        if self.figure is not None and not self.source:
            raise ValueError("a figure needs its source")
        return self

    def aim_in(self, profile: str | None) -> float | None:
        """The aim in a profile run on its own data set; None stands for any other run."""
        if isinstance(self.aim, dict):
            return self.aim.get(profile) if profile else None
        return None if self.aim == "computed" else self.aim


class ClaimDefinitions(_Strict):
    """All claims by lab, in order; `datasets` names the data set of each profile with aims.

    `other_datasets` holds those of labs that differ.
    """

    datasets: dict[str, str]
    other_datasets: dict[str, dict[str, str]] = {}
    labs: dict[str, list[ClaimDefinition]]

    def of(self, lab: str) -> dict[str, ClaimDefinition]:
        """The claims of a lab by id, in order."""
        return {claim.id: claim for claim in self.labs.get(lab, [])}

    def each(self) -> Iterator[tuple[str, ClaimDefinition]]:
        """Every claim of the course with its lab."""
        return ((lab, claim) for lab, claims in self.labs.items() for claim in claims)

    def select(self, lab: str, ids: Iterable[str]) -> dict[str, ClaimDefinition]:
        """The claims of a lab with these ids. Raises LabError for an id that it does not have."""
        of_lab = self.of(lab)
        wanted = list(ids)
        unknown = ", ".join(id for id in wanted if id not in of_lab)
        if unknown:
            raise LabError(
                f"{lab} has no claim {unknown}",
                f"its claims in notebooks/claims.yaml are: {', '.join(of_lab) or 'none'}",
            )
        return {id: of_lab[id] for id in wanted}

    def datasets_of(self, lab: str) -> dict[str, str]:
        """The data set of each profile that a lab's aims are for."""
        return self.datasets | self.other_datasets.get(lab, {})

    def profile_with_aims(self, lab: str, profile: str, dataset: str) -> str | None:
        """The profile, or None where its aims do not count, as it ran on another data set."""
        return profile if self.datasets_of(lab).get(profile) == dataset else None

    def on_own_data(
        self, lab: str, profile: str, parameters: Mapping[str, object]
    ) -> dict[str, object]:
        """The data set among a lab's parameters, if that is the one that its aims are for.

        It may stand in for the profile's own, wherever it lies.
        """
        data = parameters.get("data")
        own = self.profile_with_aims(lab, profile, short_name(str(data)))
        return {"data": data} if own else {}


def short_name(dataset: str) -> str:
    """A data set's name without the folders of `csv:PATH` and `folder:PATH`, to be handed in."""
    kind, colon, path = dataset.partition(":")
    return f"{kind}:{Path(path).name}" if colon else dataset


def read_definitions(path: Path) -> ClaimDefinitions:
    """The claims of the course. Raises LabError that names lab and id of what is wrong."""
    try:
        text = path.read_text(encoding="utf-8")
        read = yaml.safe_load(text)
        if read is None:
            raise _wrong(path, "the file is empty")
        for place in _repeated_keys(yaml.compose(text, yaml.SafeLoader)):
            raise _wrong(path, f"{_place(read, place)} is there twice")
        definitions = ClaimDefinitions.model_validate(read)
    except ValidationError as error:
        innermost = max(error.errors(), key=lambda each: len(each["loc"]))  # of several, the first
        raise _wrong(path, f"{_place(read, innermost['loc'])}: {innermost['msg']}") from None
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise _wrong(path, " ".join(str(error).split())) from None
    _refuse_duplicates(path, definitions)
    _refuse_unknown_profiles(path, definitions)
    return definitions


def _repeated_keys(
    node: yaml.Node | None, place: tuple[int | str, ...] = ()
) -> Iterator[tuple[int | str, ...]]:
    """The places of keys that a mapping has more than once: YAML would keep the last of them."""
    if isinstance(node, yaml.MappingNode):
        names = [str(key.value) for key, _ in node.value]
        yield from ((*place, name) for name in names if names.count(name) > 1)
        for name, (_, value) in zip(names, node.value, strict=True):
            yield from _repeated_keys(value, (*place, name))
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            yield from _repeated_keys(value, (*place, number))


def _wrong(path: Path, problem: str) -> LabError:
    return LabError(f"{path}: {problem}", "the comment at its top says what a claim consists of")


def _place(read: Any, place: tuple[int | str, ...]) -> str:  # noqa: ANN401 - what YAML read
    """Where pydantic found a mistake, with the claim's id in place of its number in the list."""
    match place:
        case ("labs", str(lab), int(number), *field):
            claim = read["labs"][lab][number]
            id = claim.get("id", number) if isinstance(claim, dict) else number
            return " ".join(["lab", lab, "claim", *map(str, (id, *field))])
        case _:
            return " ".join(map(str, place))


def _refuse_duplicates(path: Path, definitions: ClaimDefinitions) -> None:
    first_lab: dict[str, str] = {}
    for lab, claim in definitions.each():
        if claim.id in first_lab:
            raise _wrong(path, f"lab {lab} claim {claim.id} stands in {first_lab[claim.id]}")
        first_lab[claim.id] = lab


def _refuse_unknown_profiles(path: Path, definitions: ClaimDefinitions) -> None:
    for lab, claim in definitions.each():
        profiles = set(claim.aim) if isinstance(claim.aim, dict) else set()
        unknown = ", ".join(sorted(profiles - set(definitions.datasets)))
        if unknown:
            raise _wrong(path, f"lab {lab} claim {claim.id}: unknown profile {unknown}")
