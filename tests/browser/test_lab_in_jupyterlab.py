"""A lab opened in JupyterLab by a real browser and run to its end."""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import nbformat
import pandas as pd
import pytest
from made_run import executed, write_notebook
from nbformat import v4

from labsupport.plots.interactive import interactive_front

ROOT = Path(__file__).parents[2]
PREFERRED = "01_baseline_mlp.ipynb"
MADE = "00_made.ipynb"
START_SECONDS, RUN_SECONDS = 180, 600

# Runs in the page: the whole notebook, then what its code cells have to show.
RUN_ALL = """async () => {
    const app = window.jupyterapp;
    await app.restored;
    const panel = app.shell.currentWidget;
    await panel.context.ready;
    await panel.sessionContext.ready;
    await app.commands.execute("notebook:run-all-cells");
    const cells = panel.context.model.toJSON().cells;
    return cells.filter(cell => cell.cell_type === "code");
}"""
READY = """() => {
    const widget = window.jupyterapp?.shell?.currentWidget;
    return widget?.context?.isReady && widget?.sessionContext?.session?.kernel != null;
}"""


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A copy of the notebooks in the layout of the repository, so that no run touches the real."""
    folder = tmp_path_factory.mktemp("course")
    shutil.copytree(ROOT / "notebooks", folder / "notebooks", dirs_exist_ok=True)
    if not labs(folder):
        cells = [v4.new_markdown_cell("# Made"), v4.new_code_cell("6 * 7")]
        write_notebook(folder / "notebooks" / MADE, cells)
    return folder


def labs(folder):
    """The labs in a folder, the preferred one first."""
    found = sorted((folder / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    return sorted(found, key=lambda path: path.name != PREFERRED)


@pytest.fixture(scope="module")
def jupyterlab(course, tmp_path_factory):
    """The address of a JupyterLab of its own: its settings, port and token are made for it."""
    if not find_spec("jupyterlab"):
        pytest.skip("JupyterLab is not installed")
    home, port, token = tmp_path_factory.mktemp("jupyter"), free_port(), secrets.token_hex(16)
    with (home / "server.log").open("w") as log:
        server = subprocess.Popen(
            command(course, home, port, token),
            env=environment(course, home),
            stdout=log,
            stderr=log,
        )
    try:
        wait_for(f"http://127.0.0.1:{port}/api/status?token={token}", server, home / "server.log")
        yield f"http://127.0.0.1:{port}", token
    finally:
        end(server)


def end(server):
    """Ask the server to end; one that waits for its kernels for ever is not what is tested."""
    server.terminate()
    try:
        server.wait(timeout=60)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def command(course, home, port, token):
    return [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"),
        f"--ServerApp.root_dir={course}",
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0",
        f"--IdentityProvider.token={token}",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        f"--LabApp.user_settings_dir={settings(home)}",
        f"--LabApp.workspaces_dir={home / 'workspaces'}",
        "--expose-app-in-browser",
    ]


def environment(course, home):
    folders = {
        f"JUPYTER_{kind}_DIR": str(home / kind.lower()) for kind in ("CONFIG", "DATA", "RUNTIME")
    }
    data = os.environ.get("LABS_DATA") or str(course / "data")
    return os.environ | folders | {"LABS_DATA": data, "IPYTHONDIR": str(home / "ipython")}


def settings(home):
    """JupyterLab's settings without its question whether to fetch news."""
    folder = home / "settings"
    extension = folder / "@jupyterlab" / "apputils-extension"
    extension.mkdir(parents=True)
    (extension / "notification.jupyterlab-settings").write_text(json.dumps({"fetchNews": "false"}))
    return folder


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(address, server, log):
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urlopen(address, timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.3)
    pytest.fail(f"JupyterLab did not start:\n{log.read_text()[-2000:]}")


def test_a_lab_runs_to_its_end(chromium, jupyterlab, course):
    address, token = jupyterlab
    lab = labs(course)[0]
    page = chromium.new_page()
    page.set_default_timeout(RUN_SECONDS * 1000)
    page.goto(f"{address}/lab/tree/notebooks/{lab.name}?token={token}")
    page.wait_for_function(READY)
    ran = page.evaluate(RUN_ALL)
    page.close()

    expected = [c for c in nbformat.read(lab, as_version=4).cells if c.cell_type == "code"]
    outputs = [output for cell in ran for output in cell["outputs"]]
    errors = [output for output in outputs if output["output_type"] == "error"]
    assert errors == [], "\n".join(errors[0]["traceback"])
    assert len(ran) == len(expected) > 0
    counts = [cell["execution_count"] for cell in ran if "".join(cell["source"]).strip()]
    assert counts == list(range(1, len(counts) + 1))  # each once, in order, in a fresh kernel


def test_the_slider_of_a_front_moves(chromium, jupyterlab, course):
    table = pd.DataFrame(
        {"net": ["small", "large"], "macs": [1e3, 1e6], "val": [0.9, 0.95], "test": [0.91, 0.94]}
    )
    chart = interactive_front(table, "macs", "test", ["net"], chosen_by="val", group="net")
    output = v4.new_output("display_data", data=chart._repr_mimebundle_())
    write_notebook(course / "notebooks" / "front.ipynb", [executed("front()", 1, output)])
    address, token = jupyterlab
    page, asked = chromium.new_page(), []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{address}/lab/tree/notebooks/front.ipynb?token={token}")
    chart = page.locator(".jp-OutputArea-output")
    chart.locator("tspan", has_text="net large").wait_for()
    chart.locator("input[type=range]").focus()
    page.keyboard.press("Home")
    chart.locator("tspan", has_text="net small").wait_for()
    page.close()
    elsewhere = [url for url in asked if not url.startswith((address, "data:", "blob:"))]
    assert elsewhere == []
