"""What a lab ran with besides its parameters, and how that differs from now or between labs.

Tables belong together only if their labs ran the same code, with the same versions, on the same
machine, and read the same data.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydantic import BaseModel

from labsupport.core.errors import LabError

PACKAGE = Path(__file__).parents[1]
OUTSIDE = ("runs", "report", "coursework", "app")  # the rooms that no lab imports from
LIBRARIES = (
    *("torch", "torchvision", "numpy", "pandas", "scipy", "matplotlib", "scikit-learn", "mlxtend"),
    *("thop", "onnxruntime", "nbclient", "nbformat", "ipykernel", "distributed"),
)
SHOWN = 3  # differences that are told in full
Rows = list[dict[str, str]]


class Conditions(BaseModel, frozen=True, extra="forbid"):
    """What one lab ran with.

    `notebook` and `code` stand for the notebook's cells and the package's source. `jobs` is how
    many labs ran at once: with more than one, clocked columns suffer. `scheduler` is the address
    of the Dask cluster that trained, if any; `machine` has rows of group, item and value. `data`
    says what the files of the lab's data set are and where they lie, by the name of the set.
    """

    notebook: str
    code: str
    versions: dict[str, str]
    jobs: int = 1
    scheduler: str | None = None
    machine: Rows = []
    data: dict[str, str] = {}

    @property
    def software(self) -> dict[str, str]:
        """The package and the libraries, by name."""
        return {"labsupport": self.code, **self.versions}

    @property
    def machine_items(self) -> dict[str, str]:
        """The values of the machine report, by group and item."""
        return {f"{row['group']} {row['item']}": row["value"] for row in self.machine}

    def changes(self, notebook: Path, data: Mapping[str, str]) -> list[str]:
        """What of the notebook, the software and the data is another by now, in words."""
        then = {"notebook": self.notebook, **self.software, **self.data}
        now = {"notebook": cells_hash(notebook), "labsupport": code_hash(), **versions(), **data}
        changed = {name: old for name, old in then.items() if old != now.get(name)}
        return [f"{name} ({old} -> {now.get(name)})" for name, old in changed.items()]


def values_by_name(facts: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, list[str]]]:
    """Every value of each fact with the labs that have it; `facts` are those of each lab."""
    values: dict[str, dict[str, list[str]]] = {name: {} for of in facts.values() for name in of}
    for name, labs_with in values.items():
        for lab, of_lab in facts.items():
            labs_with.setdefault(of_lab.get(name, "absent"), []).append(lab)
    return values


def mixture(labs: Mapping[str, Conditions]) -> list[str]:
    """What keeps the tables of labs from standing side by side, in words.

    They ran at once, or with other code, versions, machines, schedulers or files of a data set.
    """
    crowded = [lab for lab, ran in labs.items() if ran.jobs > 1]
    facts = {
        lab: {"scheduler": ran.scheduler or "none", **ran.software, **ran.machine_items}
        for lab, ran in labs.items()
    }
    data = values_by_name({lab: ran.data for lab, ran in labs.items()})
    for values in data.values():
        values.pop("absent", None)  # labs may read other sets
    found = [
        f"{name} is " + " but ".join(f"{value} in {', '.join(of)}" for value, of in values.items())
        for name, values in (data | values_by_name(facts)).items()
        if len(values) > 1
    ]
    more = [f"{len(found) - SHOWN} more differences"] if len(found) > SHOWN else []
    at_once = [f"labs ran at once, which spoils the clock: {', '.join(crowded)}"] if crowded else []
    return [*at_once, *found[:SHOWN], *more]


def current(
    notebook: Path, jobs: int, scheduler: str | None, machine: Rows, data: dict[str, str]
) -> Conditions:
    """What a lab that starts now runs with."""
    return Conditions(
        notebook=cells_hash(notebook),
        code=code_hash(),
        versions=versions(),
        jobs=jobs,
        scheduler=scheduler,
        machine=machine,
        data=data,
    )


def cells_hash(notebook: Path) -> str:
    """What stands for a notebook's cells: their kinds, texts and tags, not their outputs."""
    cells = json.loads(notebook.read_bytes())["cells"]
    read = [[c["cell_type"], "".join(c["source"]), c["metadata"].get("tags")] for c in cells]
    return hashlib.sha256(json.dumps(read).encode()).hexdigest()[:12]


def code_hash() -> str:
    """What stands for all the code of the package that labs can use: of every room to `plots`.

    A change in any of it counts, also in what a lab does not use.
    """
    files = [path.relative_to(PACKAGE) for path in sorted(PACKAGE.rglob("*.py"))]
    used = [file for file in files if file.parts[0] not in OUTSIDE]
    content = b"".join(f"{file} ".encode() + (PACKAGE / file).read_bytes() for file in used)
    return hashlib.sha256(content).hexdigest()[:12]


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that matter to the results."""
    try:
        return {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}
    except PackageNotFoundError as error:
        raise LabError(f"{error.name} is not installed", "see what `labs doctor` says") from None


def machine() -> Rows:
    """The machine report as rows of group, item and value."""
    from labsupport.measure.machine import machine_report  # torch comes along: seconds

    return [dict(row) for _, row in machine_report().iterrows()]
