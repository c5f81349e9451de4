"""Profiles: which parameters a run changes in which labs; all checked before anything runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from labsupport.core.errors import LabError
from labsupport.runs.catalog import Catalog, find_lab
from labsupport.runs.parameters import Parameter, Value, check_names, parameters_of

Values = dict[str, Value]
Parameters = Mapping[str, Mapping[str, Parameter]]

SHAPE = (
    "a profile holds `all: {PARAM: VALUE}`, `labs: {LAB: {PARAM: VALUE}}` or both,"
    " as those in notebooks/profiles do"
)
OWN = {"profile": "give --profile", "out": "give --name or --runs-dir"}


@dataclass(frozen=True)
class Profile:
    """A named set of values: `common` for every lab that has them, `labs` for one lab each."""

    name: str
    common: Mapping[str, object]
    labs: Mapping[str, Mapping[str, object]]


def all_parameters(catalog: Catalog) -> dict[str, dict[str, Parameter]]:
    """The parameters of every lab, by lab and name."""
    return {name: parameters_of(lab.path) for name, lab in catalog.items()}


def load_profile(given: str, folder: Path, parameters: Parameters) -> Profile:
    """The profile called `given` in `folder`, or the one in the file `given`.

    Raises LabError for an unknown name, a file that cannot be read, unknown keys, labs or
    parameters, and values of a wrong type or range.
    """
    path = profile_path(given, folder)
    profile = Profile(path.stem, *_tables(path))
    try:
        _check(profile, parameters)
    except LabError as error:
        raise LabError(f"{path}: {error.problem}", error.remedy) from None
    return profile


def profile_path(given: str, folder: Path) -> Path:
    """The file of the profile `given`: a name in `folder`, or a file.

    Raises LabError when there is none, or when a file passes for a profile of `folder`.
    """
    path = Path(given)
    if path.suffix not in (".yaml", ".yml"):
        path = folder / f"{given}.yaml"
    if not path.is_file():
        known = ", ".join(found.stem for found in sorted(folder.glob("*.yaml")))
        raise LabError(f"no profile {given}", f"profiles are: {known}, or a file NAME.yaml")
    built_in = folder / f"{path.stem}.yaml"
    if built_in.is_file() and not path.samefile(built_in):
        raise LabError(f"{path} is not the course's profile {path.stem}", "rename the file")
    return path


def read_assignments(
    texts: Iterable[str], catalog: Catalog, parameters: Parameters
) -> dict[str, Values]:
    """Values by lab from `LAB.PARAM=VALUE`, or `PARAM=VALUE` for all labs that have it.

    The more special form wins. Raises LabError for unknown labs, names and wrong values.
    """
    values: dict[str, Values] = {}
    for text in sorted(texts, key=lambda text: "." in text.split("=")[0]):
        target, equals, value = text.partition("=")
        if not equals:
            raise LabError(f"-p {text}: no value", "write -p LAB.PARAM=VALUE")
        lab, _, name = target.rpartition(".")
        if not name:
            raise LabError(f"-p {text}: no parameter name", "write -p LAB.PARAM=VALUE")
        for owner in _owners(lab, name, catalog, parameters):
            parsed = _known_data(parameters[owner][name], parameters[owner][name].parse(value))
            values.setdefault(owner, {})[name] = parsed
    return values


def resolve(
    lab: str, parameters: Mapping[str, Parameter], profile: Profile, own: Mapping[str, Value]
) -> Values:
    """Every parameter of a lab: the notebook's default, then the profile, then `own`."""
    common = {name: value for name, value in profile.common.items() if name in parameters}
    given = {**common, **profile.labs.get(lab, {}), **own}
    injected: Values = {"profile": profile.name, "out": "."}
    values = {
        name: parameter.check(given.get(name, parameter.default))
        for name, parameter in parameters.items()
    }
    return values | {name: value for name, value in injected.items() if name in parameters}


def _tables(path: Path) -> tuple[dict[str, object], dict[str, dict[str, object]]]:
    """The tables `all` and `labs` of a profile's file."""
    try:
        read = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise LabError(f"{path} is not a profile: {' '.join(str(error).split())}", SHAPE) from None
    tables = _table(path, read)
    unknown = sorted(set(tables) - {"all", "labs"})
    if unknown:
        raise LabError(f"{path}: unknown key {', '.join(unknown)}", "keys are: all, labs")
    labs = _table(path, tables.get("labs")).items()
    return _table(path, tables.get("all")), {lab: _table(path, values) for lab, values in labs}


def _table(path: Path, read: object) -> dict[str, object]:
    """What YAML read as a table; nothing at all is an empty one."""
    if not isinstance(read, dict | None):
        raise LabError(f"{path} is not a profile: {read!r} stands where a table must", SHAPE)
    return {str(key): value for key, value in (read or {}).items()}


def _check(profile: Profile, parameters: Parameters) -> None:
    for name, value in profile.common.items():
        for owner in _having(name, parameters):
            _checked(name, value, parameters[owner])
    for lab, values in profile.labs.items():
        if lab not in parameters:
            raise LabError(f"unknown lab {lab}", f"labs are: {', '.join(parameters)}")
        check_names(lab, parameters[lab], values)
        for name, value in values.items():
            _checked(name, value, parameters[lab])


def _checked(name: str, value: object, parameters: Mapping[str, Parameter]) -> None:
    _refuse_own(name)
    if parameters[name].type is float and isinstance(value, str):
        raise LabError(f"{name}={value!r} is text", "YAML wants a dot in a number: 1.0e-3")
    _known_data(parameters[name], parameters[name].check(value))


def _refuse_own(name: str) -> None:
    if name in OWN:
        raise LabError(f"the parameter {name} is set by labs run itself", OWN[name])


def _having(name: str, parameters: Parameters) -> list[str]:
    owners = [lab for lab in parameters if name in parameters[lab]]
    if not owners:
        known = sorted({known for own in parameters.values() for known in own})
        raise LabError(f"no lab has a parameter {name}", f"parameters are: {', '.join(known)}")
    return owners


def _owners(lab: str, name: str, catalog: Catalog, parameters: Parameters) -> list[str]:
    _refuse_own(name)
    if not lab:
        return _having(name, parameters)
    owner = find_lab(catalog, lab).name
    check_names(owner, parameters[owner], {name: None})
    return [owner]


def _known_data(parameter: Parameter, value: Value) -> Value:
    """`value`, refused if it should name a data set and does not."""
    if parameter.name != "data" or value == parameter.default:
        return value
    from labsupport.data.sources import check_name  # torch comes along: seconds

    check_name(str(value))
    return value
