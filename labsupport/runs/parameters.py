"""What a lab may be told: its parameters' names, types, ranges and choices, checked."""

from __future__ import annotations

import ast
import logging
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nbformat
import papermill as pm
from nbformat import NotebookNode

from labsupport.core.errors import LabError

Value = bool | int | float | str

TYPES: dict[str, type[Value]] = {"bool": bool, "int": int, "float": float, "str": str}
WORDS = {"true": True, "false": False}
LIMITS = re.compile(r"\[([^\[\]]*(?:\.\.|\|)[^\[\]]*)\]\s*$")
RULE = (
    "its cell tagged `parameters` must hold one plain `name: type = value  # comment` per line"
    " (bool, int, float or str), and neither = nor # anywhere else"
)


@dataclass(frozen=True)
class Parameter:
    """One parameter of a lab; `low`, `high` (inclusive) and `choices` limit its values."""

    name: str
    type: type[Value]
    default: Value
    help: str = ""
    low: float = -math.inf
    high: float = math.inf
    choices: tuple[Value, ...] = ()

    def parse(self, text: str) -> Value:
        """The value that `text` from the command line stands for. Raises LabError."""
        try:
            value = WORDS[text.lower()] if self.type is bool else self.type(text)
        except (ValueError, KeyError):
            raise LabError(f"{self.name}={text} is not {self.expected}") from None
        return self.check(value)

    def check(self, value: Any) -> Value:  # noqa: ANN401 - whatever a profile's file holds
        """`value` in this parameter's type. Raises LabError for a wrong type or range.

        An int does for a float; a bool is never a number.
        """
        if self.type is float and type(value) is int:
            value = float(value)
        if type(value) is not self.type or not self._allows(value):
            raise LabError(f"{self.name}={value!r} is not {self.expected}")
        return value

    @property
    def expected(self) -> str:
        """What a right value is, in words."""
        if self.choices:
            return "one of " + ", ".join(map(str, self.choices))
        if self.low == -math.inf and self.high == math.inf:
            return f"of type {self.type.__name__}"
        return f"of type {self.type.__name__} in [{self.low:g}..{self.high:g}]"

    def _allows(self, value: Value) -> bool:
        if self.choices:
            return value in self.choices
        if isinstance(value, int | float) and self.type is not bool:
            return math.isfinite(value) and self.low <= value <= self.high
        return True


def read_notebook(path: Path) -> NotebookNode:
    """A lab's notebook, bound to the Python that runs this. Raises LabError if unreadable."""
    try:
        notebook: NotebookNode = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    except (OSError, ValueError, nbformat.ValidationError) as error:
        raise LabError(f"{path} is not a notebook: {error}", "put it back as it was") from error
    # The kernel a reader last used is stored in the notebook, and may not exist here.
    notebook.metadata["kernelspec"] = {
        "name": "python3",
        "language": "python",
        "display_name": "Python 3",
    }
    return notebook


def parameters_of(path: Path) -> dict[str, Parameter]:
    """The parameters of a lab by name, in order. Raises LabError for a cell out of shape."""
    notebook = read_notebook(path)
    cells = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    if len(cells) != 1:
        raise LabError(f"{path.name} has {len(cells)} parameters cells, not one", RULE)
    declared = _declared(path, cells[0].source)
    inferred = _inferred(notebook)
    # papermill reads lines, not Python: anything the two see differently is refused.
    if {name: default for name, (_, default) in declared.items()} != {
        name: _literal(facts["default"]) for name, facts in inferred.items()
    }:
        raise LabError(f"papermill misreads the parameters of {path.name}", RULE)
    return {
        name: _parameter(path, name, kind, default, inferred[name]["help"])
        for name, (kind, default) in declared.items()
    }


def check_names(lab: str, parameters: Mapping[str, Parameter], names: Mapping[str, object]) -> None:
    """Refuse names the lab has no parameter for."""
    unknown = [name for name in names if name not in parameters]
    if unknown:
        raise LabError(
            f"{lab} has no parameter {', '.join(unknown)}",
            f"its parameters are: {', '.join(parameters)}",
        )


def _declared(path: Path, source: str) -> dict[str, tuple[type[Value], Value]]:
    try:
        statements = ast.parse(source).body
        return dict(_declaration(statement) for statement in statements)
    except (SyntaxError, ValueError, KeyError, TypeError, AttributeError):
        raise LabError(f"the parameters of {path.name} cannot be read", RULE) from None


def _declaration(statement: ast.stmt) -> tuple[str, tuple[type[Value], Value]]:
    if not (isinstance(statement, ast.AnnAssign) and statement.value):
        raise ValueError(statement)
    kind = TYPES[ast.unparse(statement.annotation)]
    return ast.unparse(statement.target), (kind, ast.literal_eval(statement.value))


def _inferred(notebook: NotebookNode) -> dict[str, dict[str, str]]:
    # It warns of lines it cannot read; parameters_of refuses those in one line of its own.
    logging.getLogger("papermill.translators").setLevel(logging.ERROR)
    return dict(pm.inspect_notebook(notebook))


def _literal(text: str) -> object:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return None


def _parameter(path: Path, name: str, kind: type[Value], default: Value, help: str) -> Parameter:
    limits = LIMITS.search(help)
    plain = Parameter(name, kind, default, LIMITS.sub("", help).strip())
    try:
        limited = _limited(plain, limits.group(1)) if limits else plain
        limited.check(default)
    except (LabError, ValueError) as error:
        raise LabError(f"{path.name}: {name}: {error}", RULE) from None
    return limited


def _limited(plain: Parameter, limits: str) -> Parameter:
    """`plain` with the range `low..high` or the choices `a|b|c` its comment ends in."""
    if "|" in limits:
        return replace(plain, choices=tuple(plain.parse(t.strip()) for t in limits.split("|")))
    low, high = (text.strip() for text in limits.split(".."))
    return replace(plain, low=float(low or -math.inf), high=float(high or math.inf))
