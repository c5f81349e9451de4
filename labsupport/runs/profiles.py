"""Profiles: which parameters a run changes in which labs; all checked before anything runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path

import yaml
from pydantic import BaseModel, Field

from labsupport.core.errors import LabError
from labsupport.core.validation import explain
from labsupport.runs.catalog import Catalog, find_lab
from labsupport.runs.parameters import Parameter, check_names, parameters_of
from labsupport.runs.record import Value

Values = dict[str, Value]
Parameters = Mapping[str, Mapping[str, Parameter]]

SHAPE = (
    "a profile holds `all: {PARAM: VALUE}`, `labs: {LAB: {PARAM: VALUE}}` or both,"
    " as those in notebooks/profiles do"
)
RESERVED = {"profile": "give --profile", "out": "give --name or --runs-dir"}


class Profile(BaseModel, extra="forbid", coerce_numbers_to_str=True):
    """A named set of values: `common` for every lab that has them, `labs` for one lab each."""

    name: str = ""
    common: dict[str, object] = Field({}, alias="all")
    labs: dict[str, dict[str, object]] = {}

    def values(self, lab: str, parameters: Mapping[str, Parameter]) -> Values:
        """Every parameter of a lab: its own value, else the common one, else the notebook's.

        Raises LabError for a parameter that the lab does not have, and a wrong type or range.
        """
        own = self.labs.get(lab, {})
        check_names(lab, parameters, own)
        given = {**self.common, **own, "profile": self.name, "out": "."}
        return {name: p.check(given.get(name, p.default)) for name, p in parameters.items()}


def all_parameters(catalog: Catalog) -> dict[str, dict[str, Parameter]]:
    """The parameters of every lab, by lab and name."""
    return {name: parameters_of(lab.path) for name, lab in catalog.items()}


def load_profile(given: str, folder: Path, parameters: Parameters) -> Profile:
    """The profile called `given` in `folder`, or the one in the file `given`.

    Raises LabError for an unknown name, a file that cannot be read, unknown keys, labs or
    parameters, and values of a wrong type or range.
    """
    path = profile_path(given, folder)
    try:
        profile = Profile.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
        profile.name = path.stem
        _check_profile(profile, parameters)
    except LabError as error:
        raise LabError(f"{path}: {error.problem}", error.remedy) from None
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise LabError(f"{path} is not a profile: {explain(error)}", SHAPE) from None
    return profile


def profile_path(given: str, folder: Path) -> Path:
    """The file of the profile `given`: a name in `folder`, or a file.

    Raises LabError when there is none, or when a file has the name of a profile of `folder`.
    """
    path = Path(given)
    if path.suffix not in (".yaml", ".yml"):
        path = folder / f"{given}.yaml"
    if not path.is_file():
        known = ", ".join(file.stem for file in sorted(folder.glob("*.yaml")))
        raise LabError(f"no profile {given}", f"profiles are: {known}, or a file NAME.yaml")
    built_in = folder / f"{path.stem}.yaml"
    if built_in.is_file() and not path.samefile(built_in):
        raise LabError(f"{path} is not the course's profile {path.stem}", "rename the file")
    return path


def read_assignments(texts: Iterable[str], parameters: Parameters) -> dict[str, Values]:
    """Values by lab from `LAB.PARAM=VALUE`, or `PARAM=VALUE` for all labs that have it.

    The more special form wins. Raises LabError for unknown labs, names and wrong values.
    """
    values: dict[str, Values] = {}
    for text in sorted(texts, key=lambda text: "." in text.split("=")[0]):
        target, equals, value = text.partition("=")
        lab, _, name = target.rpartition(".")
        if not (equals and name):
            problem = "no parameter name" if equals else "no value"
            raise LabError(f"-p {text}: {problem}", "write -p LAB.PARAM=VALUE")
        _refuse_reserved(name)
        for owner in [find_lab(parameters, lab)] if lab else _labs_with(name, parameters):
            check_names(owner, parameters[owner], {name: value})
            values.setdefault(owner, {})[name] = parameters[owner][name].parse(value)
    return values


def _check_profile(profile: Profile, parameters: Parameters) -> None:
    for name in [*profile.common, *chain(*profile.labs.values())]:
        _refuse_reserved(name)
    for name in profile.common:
        _labs_with(name, parameters)
    if unknown := [lab for lab in profile.labs if lab not in parameters]:
        raise LabError(f"unknown lab {', '.join(unknown)}", f"labs are: {', '.join(parameters)}")
    for lab, known in parameters.items():
        profile.values(lab, known)


def _refuse_reserved(name: str) -> None:
    if name in RESERVED:
        raise LabError(f"`labs run` sets the parameter {name} itself", RESERVED[name])


def _labs_with(name: str, parameters: Parameters) -> list[str]:
    labs = [lab for lab in parameters if name in parameters[lab]]
    if not labs:
        names = sorted({name for of_lab in parameters.values() for name in of_lab})
        raise LabError(f"no lab has a parameter {name}", f"parameters are: {', '.join(names)}")
    return labs
