"""The parameters of a lab: their names, types, ranges and choices, read from its notebook."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import nbformat
from nbformat import NotebookNode
from pydantic import Field, TypeAdapter, ValidationError

from labsupport.core.errors import LabError
from labsupport.core.validation import explain
from labsupport.runs.record import Value

TYPES: dict[str, type[Value]] = {"bool": bool, "int": int, "float": float, "str": str}
LIMITS = re.compile(r"\[([^\[\]]*(?:\.\.|\|)[^\[\]]*)\]\s*$")
RULE = (
    "its cell tagged `parameters` must hold one plain `name: type = value  # comment` per line"
    " (bool, int, float or str)"
)


@dataclass(frozen=True)
class Parameter:
    """One parameter of a lab; `type` is an annotation that pydantic checks, limits included."""

    name: str
    type: Any
    default: Value

    def parse(self, text: str) -> Value:
        """The value that `text` from the command line stands for. Raises LabError as `check`."""
        return self._validated(text, TypeAdapter.validate_strings)

    def check(self, value: object) -> Value:
        """`value` in this parameter's type. Raises LabError for a wrong type, range or data set.

        An int does for a float, and so does its text, as which YAML reads 1e-3.
        """
        if isinstance(self.default, float) and isinstance(value, str):
            return self.parse(value)
        return self._validated(value, partial(TypeAdapter.validate_python, strict=True))

    def _validated(self, given: object, validate: Callable[..., Value]) -> Value:
        try:
            value = validate(TypeAdapter(self.type, config={"allow_inf_nan": False}), given)
        except ValidationError as error:
            raise LabError(f"{self.name}={given}: {explain(error)}") from None
        if self.name == "data" and value != self.default:
            from labsupport.data.sources import check_name  # torch comes along: seconds

            check_name(str(value))
        return value


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
    except (LabError, SyntaxError, tokenize.TokenError, TypeError, ValueError, KeyError) as error:
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
    kind: Any = TYPES[ast.unparse(node.annotation)]
    if limits := LIMITS.search(comments.get(node.lineno, "")):
        kind = _limited(kind, limits[1])
    found = Parameter(node.target.id, kind, ast.literal_eval(node.value))
    found.check(found.default)
    return found


def _limited(kind: type[Value], limits: str) -> Any:  # noqa: ANN401 - an annotation
    """A type with limits: texts to choose from, `a|b`, or a range with both its ends, `0..1`."""
    if "|" in limits:
        return Literal[tuple(text.strip() for text in limits.split("|"))]
    low, high = (ast.literal_eval(end.strip() or "None") for end in limits.split(".."))
    return Annotated[kind, Field(ge=low, le=high)]
