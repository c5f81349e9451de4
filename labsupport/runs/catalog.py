"""Which labs there are, what they need, and which of them to run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from pydantic import BaseModel

from labsupport.core.errors import LabError
from labsupport.core.validation import explain

LAB_NAME = re.compile(r"^(\d+)_\w+$")


class Lab(BaseModel, frozen=True):
    """One lab: a notebook and what its metadata says of it; `minutes` are by profile."""

    name: str
    path: Path
    title: str
    needs: tuple[str, ...] = ()
    minutes: dict[str, float] = {}


Catalog = dict[str, Lab]


def read_catalog(folder: Path) -> Catalog:
    """All labs of a folder in order.

    Raises LabError when there is none, for an unreadable notebook, an unknown need or a cycle.
    """
    paths = [path for path in sorted(folder.glob("*.ipynb")) if LAB_NAME.match(path.stem)]
    if not paths:
        raise LabError(f"no lab in {folder}", "name the folder of the notebooks with --notebooks")
    catalog = {path.stem: _read_lab(path) for path in paths}
    _check_needs(catalog)
    return catalog


def find_lab(names: Iterable[str], text: str) -> str:
    """The one of `names` that `text` says: in full, or by its number (3 and 03 alike)."""
    number = text.lstrip("0") if text.isdecimal() else None
    matching = [n for n in names if text == n or number == n.split("_")[0].lstrip("0")]
    if len(matching) != 1:
        problem = "more than one lab has" if matching else "no lab has"
        raise LabError(f"{problem} the name or number {text!r}", f"labs are: {', '.join(names)}")
    return matching[0]


def select(
    names: Sequence[str],
    only: Iterable[str] = (),
    first: str | None = None,
    last: str | None = None,
) -> list[str]:
    """The labs to run: those of `only`, or those from `first` to `last`, or all."""
    chosen = {find_lab(names, text) for text in only}
    if chosen and (first or last):
        raise LabError("--only cannot be combined with --from or --to", "give one or the other")
    start = names.index(find_lab(names, first)) if first else 0
    stop = names.index(find_lab(names, last)) if last else len(names) - 1
    if start > stop:
        raise LabError(f"--from {first} comes after --to {last}", "swap them")
    return [name for name in names[start : stop + 1] if not chosen or name in chosen]


def _read_lab(path: Path) -> Lab:
    try:
        metadata = json.loads(path.read_text(encoding="utf-8"))["metadata"].get("labs", {})
        return Lab.model_validate({"title": path.stem, **metadata, "name": path.stem, "path": path})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        problem = f"{path} is not a lab: {explain(error)}"
        raise LabError(problem, "put the notebook back as it was") from error


def _check_needs(catalog: Catalog) -> None:
    for lab in catalog.values():
        unknown = [need for need in lab.needs if need not in catalog]
        if unknown:
            problem = f"{lab.name} needs {', '.join(unknown)}, which does not exist"
            raise LabError(problem, "correct `needs` in its notebook's metadata")
    try:
        TopologicalSorter({lab.name: lab.needs for lab in catalog.values()}).prepare()
    except CycleError as error:
        problem = f"labs need each other in a circle: {' -> '.join(error.args[1])}"
        raise LabError(problem, "break it in the notebooks' metadata") from error
