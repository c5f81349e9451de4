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
import vl_convert

from labsupport.core.errors import LabError
from labsupport.core.files import atomic_folder, write_text
from labsupport.plots import vegalite
from labsupport.report.pages import CHART, TEMPLATES, Content, write_pages
from labsupport.runs.parameters import read_notebook

NEEDED = ("sphinx", "myst_nb", "sphinx_book_theme", "math_core")
ERROR = re.compile(r"[\w.]*(?:Error|Exception)\b.*:")
UNUSED = ("*.map", "locales", "objects.inv", ".buildinfo")  # of what Sphinx leaves in a site
SETTINGS = Path(__file__).parent  # the folder with Sphinx's conf.py


def build_site(content: Content, destination: Path, log: Path) -> Path:
    """Build the site of `content` in the folder `destination` and give back its front page.

    It is built in a temporary folder beside and takes the place of the former site when it is
    complete. Warnings go to the file `log`. Raises LabError when the documentation packages are
    missing, the disk refuses, or Sphinx gives up.
    """
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise LabError(
            f"the report needs packages that are not installed: {', '.join(missing)}",
            'install them with: pip install -e ".[docs]"',
        )
    with atomic_folder(destination) as site, tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source"
        source.mkdir()
        write_pages(content, source)
        for path in content.notebooks:
            nbformat.write(_page(path), source / path.name)  # type: ignore[no-untyped-call]
        _run_sphinx(source, site, log)
        _add_files(content.folder / "tables", site)
    return destination / "index.html"


def _page(path: Path) -> nbformat.NotebookNode:
    """A notebook as a page: with a title, which every page of a site needs, and live charts."""
    notebook = read_notebook(path)
    texts = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    if not re.search(r"^# ", "\n".join(texts), re.MULTILINE):
        title = nbformat.v4.new_markdown_cell(f"# {path.stem}")  # type: ignore[no-untyped-call]
        notebook.cells.insert(0, title)
    for output in [output for cell in notebook.cells for output in cell.get("outputs", [])]:
        if spec := output.get("data", {}).get(vegalite.MIME_TYPE):
            html = TEMPLATES.get_template(CHART)
            output.data["text/html"] = html.render(spec=spec, picture=output.data["image/png"])
    return notebook


def _run_sphinx(source: Path, site: Path, log: Path) -> None:
    """Sphinx as a process of its own, for it keeps global state and settings for a process."""
    command = [sys.executable, "-m", "sphinx", "-q", "-b", "html", "-c", str(SETTINGS)]
    command += ["-d", str(source.parent / "doctrees"), str(source), str(site)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    messages = f"{done.stderr}\n{done.stdout}".strip().replace(f"{source}/", "")
    write_text(log, messages)
    if done.returncode:
        raise LabError(f"the report could not be built: {_first_cause(messages)}", f"see {log}")


def _first_cause(messages: str) -> str:
    """The innermost error that a traceback ends with, else the first message."""
    lines = [line.strip() for line in messages.splitlines() if line.strip()]
    errors = [line for line in lines if ERROR.match(line) and "sphinx.errors" not in line]
    return (errors or lines or ["Sphinx said nothing"])[0].rstrip(".")


def _add_files(tables: Path, site: Path) -> None:
    """Add the tables and what draws the charts; remove what no page needs."""
    for path in [path for pattern in UNUSED for path in site.rglob(pattern)]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    script = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vegalite.VERSION)
    script = f"(() => {{{script}}})();"  # its names must not meet those of other scripts
    (site / "_static" / "vega.js").write_text(script, encoding="utf-8")
    if tables.is_dir():
        shutil.copytree(tables, site / "tables", ignore=shutil.ignore_patterns(".*"))
