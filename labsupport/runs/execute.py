"""One notebook in a kernel of its own: watched, stoppable, and judged by its cells alone."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import nbformat
import psutil
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell
from traitlets.config import Config

from labsupport.core.errors import LabError, one_line, summarize
from labsupport.core.files import explained, write_text
from labsupport.measure.machine import peak_memory
from labsupport.runs.parameters import read_notebook
from labsupport.runs.record import LabRecord, Value

INJECTED = "injected-parameters"

QUIET = logging.Logger("kernel", logging.CRITICAL + 1)  # for the client, as our errors say enough


class Stopped(Exception):
    """The run was stopped while this notebook was being executed."""


@dataclass
class Execution:
    """One notebook being executed: `source` runs in the folder `run`, kept in run/notebooks.

    `values` are injected after the parameters cell. `watch(cell, cells)` is called when a cell
    starts; cells are numbered as in the brackets beside them. `timeout` is in seconds per cell.
    What the kernel's process itself writes goes to run/logs.
    """

    source: Path
    run: Path
    record: LabRecord
    values: Mapping[str, Value]
    environment: Mapping[str, str]
    timeout: int | None = None
    watch: Callable[[int, int], None] = lambda cell, cells: None
    _cell: int | None = None
    _kernel: psutil.Process | None = None
    _stopped: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.notebook = read_notebook(self.source)
        inject(self.notebook, self.values)
        self.record = self.record.model_copy()  # that of the run is written by other threads

    def __call__(self) -> LabRecord:
        """Execute, judge, and keep the notebook: `record` as it ended. Raises Stopped by `stop`."""
        began = time.perf_counter()
        self._execute()
        if self._stopped.is_set():
            raise Stopped(self.source.stem)
        self._cell = None  # what fails from here on is no cell's
        self._keep()
        self.record.status = "failed" if self.record.error else "done"
        self.record.seconds = round(time.perf_counter() - began, 3)
        return self.record

    def stop(self) -> None:
        """Kill the kernel and what it started; `__call__` then raises Stopped."""
        self._stopped.set()
        if self._kernel:
            with suppress(psutil.Error):
                for process in [*self._kernel.children(recursive=True), self._kernel]:
                    process.kill()

    def _execute(self) -> None:
        client: NotebookClient = NotebookClient(
            self.notebook,
            kernel_name="python3",
            timeout=self.timeout,
            record_timing=False,
            store_widget_state=False,
            shutdown_kernel="immediate",
            resources={"metadata": {"path": str(self.run.resolve())}},
            config=Config({"KernelManager": {"transport_encryption": "auto"}}),
            log=QUIET,
            on_notebook_start=lambda notebook: self._started(client.km),
            on_cell_execute=lambda cell, cell_index: self._enter(cell_index),
            on_cell_executed=lambda cell, execute_reply, **_: self._left(cell, execute_reply),
        )
        log = self.run / "logs" / f"{self.source.stem}.log"
        try:
            with suppress(CellExecutionError), open_log(log) as output:  # noted as the cell ended
                client.execute(env=self.environment, stdout=output, stderr=output)
        except DeadKernelError:
            self._fail(f"the kernel died (killed, or out of memory?); see logs/{log.name}")
        except CellTimeoutError:
            self._fail(f"not finished after {self.timeout} seconds; allow more with --timeout")
        except Exception as error:
            self._fail(summarize(error))

    def _keep(self) -> None:
        try:
            text = nbformat.writes(self.notebook)  # type: ignore[no-untyped-call]
            write_text(self.run / "notebooks" / self.source.name, text + "\n")
        except LabError as error:
            self._fail(str(error))

    def _started(self, manager: Any) -> None:  # noqa: ANN401 - its provisioner has no fixed type
        self._kernel = psutil.Process(manager.provisioner.pid)

    def _enter(self, index: int) -> None:
        if self._stopped.is_set():
            raise Stopped(self.source.stem)
        cells = [i for i, cell in enumerate(self.notebook.cells) if is_executable(cell)]
        self._cell = cells.index(index) + 1
        self.watch(self._cell, len(cells))

    def _left(self, cell: NotebookNode, reply: Mapping[str, Any]) -> None:
        """Judge a cell: one tagged `raises-exception` may fail, but never by sys.exit."""
        if self._kernel:
            peak = peak_memory(self._kernel.pid)
            self.record.peak_memory_bytes = peak or self.record.peak_memory_bytes
        may_fail = "raises-exception" in cell.metadata.get("tags", [])
        content = reply["content"]
        if content["status"] == "error" and (not may_fail or content["ename"] == "SystemExit"):
            self._fail(one_line(content["ename"], content["evalue"]))

    def _fail(self, error: str) -> None:
        """Note what went wrong and in which cell; the first error counts."""
        if not self.record.error:
            self.record.cell, self.record.error = self._cell, error


@contextmanager
def open_log(path: Path) -> Iterator[IO[bytes]]:
    """A file to write to, removed afterwards if nothing was written."""
    with explained(path):
        path.parent.mkdir(exist_ok=True)
        with path.open("wb") as log:
            yield log
    if not path.stat().st_size:
        path.unlink()


def inject(notebook: NotebookNode, values: Mapping[str, Value]) -> None:
    """Clear a notebook's outputs, and set `values` in a cell after its parameters cell."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    if values:
        source = "\n".join(f"{name} = {value!r}" for name, value in values.items())
        cell = new_code_cell(source, id=INJECTED, metadata={"tags": [INJECTED]})  # type: ignore[no-untyped-call]
        tagged = ["parameters" in cell.metadata.get("tags", []) for cell in notebook.cells]
        notebook.cells.insert(tagged.index(True) + 1, cell)


def is_executable(cell: NotebookNode) -> bool:
    """Whether a cell is one that nbclient executes."""
    skipped = "skip-execution" in cell.metadata.get("tags", [])
    return cell.cell_type == "code" and bool(cell.source.strip()) and not skipped
