"""Values as readable JSON that stays the same from process to process, and back again.

Numbers, strings, lists, and mappings with string keys stand for themselves. Everything else is an
object with one tag that begins with "$": `{"$tuple": [1, 2]}`, or `{"$reference": "torch:relu"}`
for a function or class, which is imported by that name when the description is read.
"""

from __future__ import annotations

import base64
import enum
import functools
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch

from labsupport.core.errors import LabError
from labsupport.core.names import FUNCTIONS, computes, look_up, makes_layers, reference

Json = Any  # None, bool, int, float, str, and lists and string-keyed dicts of them
Describe = Callable[[Any], Json]
Restore = Callable[[Json], Any]


def describe(value: object, special: Mapping[type, Describe] | None = None) -> Json:
    """A description of a value as JSON; equal values of a type have equal ones.

    `special` describes further types, and comes first. Raises LabError for what cannot be
    described: closures, lambdas, tensors, objects of other classes.
    """
    special = special or {}
    for kind, described in special.items():
        if isinstance(value, kind):
            return described(value)
    deep = functools.partial(describe, special=special)
    for matches, described_by in _DESCRIBERS:
        if matches(value):
            return described_by(value, deep)
    problem = f"{_shortened(value)} has no description"
    raise LabError(problem, "use numbers, strings, lists, dataclasses, or functions of a module")


def restore(description: Json, special: Mapping[str, Restore] | None = None) -> Any:  # noqa: ANN401
    """The value that `describe` described; `special` restores further tags.

    Names of modules are imported and dataclasses built, nothing else runs. Raises LabError for
    what `describe` does not write, or a name that is not there.
    """
    deep = functools.partial(restore, special=special)
    if isinstance(description, list):
        return [deep(item) for item in description]
    if not isinstance(description, dict):
        return description
    tag = next((key for key in description if key.startswith("$")), None)
    if tag is None:
        return {key: deep(item) for key, item in description.items()}
    content = description[tag]
    if special and tag in special:
        return special[tag](content)
    try:
        return _RESTORERS[tag](content, deep)
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        problem = f"{_shortened(description)} is no description ({type(error).__name__})"
        raise LabError(problem, "make the file or the description again") from None


def references(description: Json) -> Iterator[str]:
    """The names of all functions and classes in a description."""
    if isinstance(description, list):
        for item in description:
            yield from references(item)
    elif isinstance(description, dict):
        for tag, content in description.items():
            if tag == "$reference":
                yield content
            elif tag in ("$dataclass", "$partial", "$member"):
                yield content[0]
            yield from references(content)


def _dict(value: Mapping[Any, object], deep: Describe) -> Json:
    if all(type(key) is str and not key.startswith("$") for key in value):
        return {key: deep(item) for key, item in value.items()}
    pairs = [[deep(key), deep(item)] for key, item in value.items()]
    return {"$pairs": sorted(pairs, key=lambda pair: json.dumps(pair[0], sort_keys=True))}


def _set(value: set[object], deep: Describe) -> Json:
    return {f"${type(value).__name__}": sorted(map(deep, value), key=repr)}


def _dataclass(value: Any, deep: Describe) -> Json:  # noqa: ANN401
    given = {f.name: deep(getattr(value, f.name)) for f in fields(value) if f.init}
    return {"$dataclass": [reference(type(value)), given]}


def _partial(value: functools.partial[object], deep: Describe) -> Json:
    return {"$partial": [reference(value.func), deep(value.args), deep(value.keywords)]}


def _rebuilt_dataclass(content: Json, deep: Restore) -> object:
    name, given = content
    kind = look_up(name)
    if not isinstance(kind, type) or not is_dataclass(kind):
        raise TypeError(name)
    return kind(**{key: deep(item) for key, item in given.items()})


def _rebuilt_partial(content: Json, deep: Restore) -> object:
    name, args, keywords = content
    return functools.partial(look_up(_computing(name)), *deep(args), **deep(keywords))


def _computing(name: str) -> str:
    """The name of a function that a file may call with arguments of its own."""
    if not computes(name) and not makes_layers(name):
        raise LabError(f"{name} does not compute layers or tensors", "use a function of torch")
    return name


def _torch_constant(name: str) -> object:
    value = getattr(torch, name)
    if not isinstance(value, torch.dtype | torch.layout | torch.memory_format):
        raise TypeError(name)
    return value


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _exactly(*kinds: type) -> Callable[[object], bool]:
    return lambda value: type(value) in kinds


def _any_of(*kinds: type) -> Callable[[object], bool]:
    return lambda value: isinstance(value, kinds)


def _is_dataclass_value(value: object) -> bool:
    return is_dataclass(value) and not isinstance(value, type)


_DESCRIBERS: list[tuple[Callable[[object], bool], Callable[[Any, Describe], Json]]] = [
    (_exactly(type(None), bool, int, str), lambda v, deep: v),
    (_exactly(float), lambda v, deep: v if math.isfinite(v) else {"$float": repr(v)}),
    (_exactly(tuple), lambda v, deep: {"$tuple": [deep(item) for item in v]}),
    (_exactly(torch.Size), lambda v, deep: {"$size": list(v)}),
    (_any_of(list), lambda v, deep: [deep(item) for item in v]),
    (_any_of(Mapping), _dict),
    (_exactly(set, frozenset), _set),
    (_exactly(slice), lambda v, deep: {"$slice": [deep(v.start), deep(v.stop), deep(v.step)]}),
    (_exactly(type(...)), lambda v, deep: {"$ellipsis": True}),
    (_exactly(bytes), lambda v, deep: {"$bytes": base64.b64encode(v).decode()}),
    (_any_of(PurePath), lambda v, deep: {"$path": v.as_posix()}),
    (
        _any_of(torch.dtype, torch.layout, torch.memory_format),
        lambda v, deep: {"$torch": str(v).removeprefix("torch.")},
    ),
    (_any_of(torch.device), lambda v, deep: {"$device": str(v)}),
    (_any_of(np.generic), lambda v, deep: deep(v.item())),
    (_any_of(enum.Enum), lambda v, deep: {"$member": [reference(type(v)), v.name]}),
    (_is_dataclass_value, _dataclass),
    (_any_of(functools.partial), _partial),
    (_any_of(*FUNCTIONS), lambda v, deep: {"$reference": reference(v)}),
]
_RESTORERS: dict[str, Callable[[Json, Restore], object]] = {
    "$float": lambda c, deep: float(c),
    "$tuple": lambda c, deep: tuple(deep(item) for item in c),
    "$size": lambda c, deep: torch.Size(c),
    "$pairs": lambda c, deep: {deep(key): deep(item) for key, item in c},
    "$set": lambda c, deep: {deep(item) for item in c},
    "$frozenset": lambda c, deep: frozenset(deep(item) for item in c),
    "$slice": lambda c, deep: slice(*map(deep, c)),
    "$ellipsis": lambda c, deep: ...,
    "$bytes": lambda c, deep: base64.b64decode(c, validate=True),
    "$path": lambda c, deep: Path(c),
    "$torch": lambda c, deep: _torch_constant(c),
    "$device": lambda c, deep: torch.device(c),
    "$member": lambda c, deep: _member(*c),
    "$dataclass": _rebuilt_dataclass,
    "$partial": _rebuilt_partial,
    "$reference": lambda c, deep: look_up(c),
}


def _member(name: str, member: str) -> object:
    kind = look_up(name)
    if not isinstance(kind, type) or not issubclass(kind, enum.Enum):
        raise TypeError(name)
    return kind[member]
