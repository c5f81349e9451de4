"""The parameters of a lab: their names, types, ranges and choices, read from its notebook."""

from __future__ import annotations

import ast
import io
import math
import re
import tokenize
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from labsupport.core.errors import LabError
from labsupport.runs.record import Value

TYPES: dict[str, type[Value]] = {"bool": bool, "int": int, "float": float, "str": str}
WORDS = {"true": True, "false": False}
LIMITS = re.compile(r"\[([^\[\]]*(?:\.\.|\|)[^\[\]]*)\]\s*$")
RULE = (
    "its cell tagged `parameters` must hold one plain `name: type = value  # comment` per line"
    " (bool, int, float or str)"
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

    def check(self, value: object) -> Value:
        """`value` in this parameter's type. Raises LabError for a wrong type, range or data set.

        An int does for a float; a bool is never a number.
        """
        if self.type is float and type(value) is int:
            value = float(value)
        if not (isinstance(value, Value) and type(value) is self.type and self._allows(value)):
            raise LabError(f"{self.name}={value!r} is not {self.expected}")
        if self.name == "data" and value != self.default:
            from labsupport.data.sources import check_name  # torch comes along: seconds

            check_name(str(value))
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
    kernel = {"name": "python3", "language": "python", "display_name": "Python 3"}
    notebook.metadata["kernelspec"] = kernel
    return notebook


def parameters_of(path: Path) -> dict[str, Parameter]:
    """The parameters of a lab by name, in order. Raises LabError for a cell out of shape."""
    notebook = read_notebook(path)
    cells = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    if len(cells) != 1:
        raise LabError(f"{path.name} has {len(cells)} parameters cells, not one", RULE)
    source = cells[0].source
    try:
        comments = _comments(source)
        found = [_parameter(node, comments) for node in ast.parse(source).body]
    except (LabError, SyntaxError, tokenize.TokenError, ValueError, KeyError) as error:
        raise LabError(f"the parameters of {path.name} cannot be read: {error}", RULE) from None
    return {parameter.name: parameter for parameter in found}


def check_names(lab: str, parameters: Mapping[str, Parameter], names: Mapping[str, object]) -> None:
    """Refuse names the lab has no parameter for."""
    unknown = [name for name in names if name not in parameters]
    if unknown:
        problem = f"{lab} has no parameter {', '.join(unknown)}"
        raise LabError(problem, f"its parameters are: {', '.join(parameters)}")


def _comments(source: str) -> dict[int, str]:
    """The comment of each line that has one, by line number."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = filter(lambda token: token.type == tokenize.COMMENT, tokens)
    return {token.start[0]: token.string.lstrip("# ") for token in comments}


def _parameter(node: ast.stmt, comments: Mapping[int, str]) -> Parameter:
    """The parameter that one statement declares, with the limits that its comment ends in."""
    if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value):
        raise ValueError(f"`{ast.unparse(node)}` declares no parameter")
    if node.col_offset or node.end_lineno != node.lineno:
        raise ValueError(f"{node.target.id} needs one line alone")
    kind, default = TYPES[ast.unparse(node.annotation)], ast.literal_eval(node.value)
    comment = comments.get(node.lineno, "")
    found = Parameter(node.target.id, kind, default, LIMITS.sub("", comment).strip())
    limits = LIMITS.search(comment)
    if limits and "|" in limits[1]:
        choices = tuple(found.parse(text.strip()) for text in limits[1].split("|"))
        found = replace(found, choices=choices)
    elif limits:
        low, high = limits[1].split("..")
        found = replace(found, low=float(low.strip() or "-inf"), high=float(high.strip() or "inf"))
    found.check(default)
    return found
