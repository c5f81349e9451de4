"""The one builder of sites: notebooks and tables in, a folder of pages out, by Sphinx."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import nbformat

from labsupport.core.errors import LabError
from labsupport.core.files import atomic_write, explained
from labsupport.report.pages import Content, write_pages

NEEDED = ("sphinx", "myst_nb", "sphinx_book_theme", "latex2mathml")
ERROR = re.compile(r"[\w.]*(?:Error|Exception)\b.*:")
UNUSED = ("*.map", "locales", "objects.inv", ".buildinfo")  # of what Sphinx leaves in a site
SETTINGS = Path(__file__).parent  # the folder with Sphinx's conf.py


def build_site(content: Content, destination: Path, log: Path) -> Path:
    """Build the site of `content` in the folder `destination` and give back its front page.

    It is built in a temporary folder beside and takes the place of the former site when it is
    whole. Warnings go to the file `log`. Raises LabError when the documentation packages are
    missing, the disk refuses, or Sphinx gives up.
    """
    _require_packages()
    with explained(destination):
        destination.parent.mkdir(parents=True, exist_ok=True)
        prefix = f".{destination.name}."
        with tempfile.TemporaryDirectory(dir=destination.parent, prefix=prefix) as folder:
            source, site = Path(folder) / "source", Path(folder) / "site"
            source.mkdir()
            write_pages(content, source)
            _write_notebooks(content.notebooks, source)
            _run_sphinx(source, site, log)
            _remove_unused(site)
            _add_tables(content.folder / "tables", site)
            _put_in_place(site, destination, Path(folder) / "former")
    return destination / "index.html"


def _require_packages() -> None:
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise LabError(
            f"the report needs packages that are not installed: {', '.join(missing)}",
            'install them with: pip install -e ".[docs]"',
        )


def _write_notebooks(notebooks: list[Path], source: Path) -> None:
    """Copy the notebooks, and give a title to those without, as every page of a site needs one."""
    for path in notebooks:
        notebook = _read(path)
        if not _has_heading(notebook):
            title = nbformat.v4.new_markdown_cell(f"# {path.stem}")  # type: ignore[no-untyped-call]
            notebook.cells.insert(0, title)
        nbformat.write(notebook, source / path.name)  # type: ignore[no-untyped-call]


def _read(path: Path) -> nbformat.NotebookNode:
    try:
        notebook: nbformat.NotebookNode = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    except Exception as error:  # nbformat lets errors of json and of its schema out as they are
        raise LabError(f"{path} is no notebook: {error}", "run the lab again") from error
    return notebook


def _has_heading(notebook: nbformat.NotebookNode) -> bool:
    texts = (cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    return any(line.startswith("# ") for text in texts for line in text.splitlines())


def _run_sphinx(source: Path, site: Path, log: Path) -> None:
    """Sphinx as a process of its own, for it keeps global state and settings for a process."""
    command = [sys.executable, "-m", "sphinx", "-q", "-b", "html", "-c", str(SETTINGS)]
    command += ["-d", str(source.parent / "doctrees")]
    done = subprocess.run([*command, str(source), str(site)], capture_output=True, text=True)
    told = "\n".join(part for part in (done.stderr.strip(), done.stdout.strip()) if part)
    with atomic_write(log) as temporary:
        temporary.write_text(told.replace(f"{source}/", ""), encoding="utf-8")
    if done.returncode:
        raise LabError(f"the report could not be built: {_first_cause(told)}", f"see {log}")


def _first_cause(told: str) -> str:
    """The innermost error that a traceback ends with, else the first thing that was told."""
    lines = [line.strip() for line in told.splitlines() if line.strip()]
    errors = [line for line in lines if ERROR.match(line) and "sphinx.errors" not in line]
    return (errors or lines or ["Sphinx said nothing"])[0].rstrip(".")


def _remove_unused(site: Path) -> None:
    for path in [path for pattern in UNUSED for path in site.rglob(pattern)]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _add_tables(tables: Path, site: Path) -> None:
    if tables.is_dir():
        shutil.copytree(tables, site / "tables", ignore=shutil.ignore_patterns(".*"))


def _put_in_place(site: Path, destination: Path, former: Path) -> None:
    if destination.exists():
        destination.replace(former)
    site.replace(destination)
