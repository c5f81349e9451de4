"""Small made courses: notebooks with a parameters cell, and the profiles beside them."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
from made_claims import write_definitions
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

PARAMETERS = """profile: str = "quick"
seed: int = 0  # of everything random [0..99]
rate: float = 0.5  # learning rate [0..1]
shuffle: bool = True  # whether to shuffle
schedule: str = "onecycle"  # how the rate goes [onecycle|constant]
out: str = "../runs/interactive"
"""

WRITE = """from labsupport.records.results import Results
r = Results("{name}", profile, "made", out=out, course="../..")
import pandas as pd
_ = r.table("numbers", pd.DataFrame({{"seed": [seed], "rate": [rate], "fit_seconds": [1.0]}}))
_ = r.claims({{"{name}.seed": seed}})"""


def write_lab(folder: Path, name: str, *cells: str, needs=(), parameters=PARAMETERS) -> Path:
    head = new_code_cell(parameters, metadata={"tags": ["parameters"]})
    body = [new_code_cell(cell) for cell in cells or [WRITE.format(name=name)]]
    notebook = new_notebook(cells=[new_markdown_cell(f"# {name}"), head, *body])
    notebook.metadata["labs"] = {
        "title": f"Title of {name}",
        "needs": list(needs),
        "minutes": {"quick": 0.5, "lab": 3},
    }
    # As if last run in a kernel that exists nowhere: the runner uses its own Python.
    notebook.metadata["kernelspec"] = {"name": "gone", "language": "python", "display_name": "x"}
    path = folder / f"{name}.ipynb"
    nbformat.write(notebook, path)
    return path


def write_profiles(folder: Path) -> None:
    """The folder of a course without labs, which makes no claims."""
    write_definitions(folder.parent, {})
    (folder / "profiles").mkdir(parents=True)
    (folder / "profiles" / "quick.yaml").write_text("all: {}\n")
    (folder / "profiles" / "lab.yaml").write_text("all: {rate: 1}\nlabs: {01_second: {seed: 7}}\n")


def small_seed(name: str) -> dict:
    """The definition of the one claim of a made lab."""
    about = {"id": f"{name}.seed", "statement": "The seed is small", "required": True}
    return about | {"relation": "<=", "aim": 50}


def make_course(folder: Path) -> Path:
    write_profiles(folder)
    names = ("00_first", "01_second", "02_third")
    write_definitions(folder.parent, {name: [small_seed(name)] for name in names})
    write_lab(folder, "00_first")
    write_lab(folder, "01_second", needs=["00_first"])
    return folder


def stored(run: Path) -> dict:
    return json.loads((run / "run.json").read_text())
