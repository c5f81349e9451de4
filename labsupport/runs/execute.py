"""One notebook in a kernel of its own: watched, stoppable, and judged by its cells alone."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
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
from labsupport.runs.parameters import read_notebook
from labsupport.runs.record import LabRecord, Value

INJECTED = "injected-parameters"
SAMPLE_SECONDS = 0.25

QUIET = logging.getLogger("labsupport.kernel")  # the client's complaints; ours are in one line
QUIET.addHandler(logging.NullHandler())
QUIET.propagate = False


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
    cell: int | None = None
    peak_memory_bytes: int | None = None
    _kernel: psutil.Process | None = None
    _stopped: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.notebook = read_notebook(self.source)
        inject(self.notebook, self.values)

    def __call__(self) -> LabRecord:
        """Execute, judge, and keep the notebook: `record` as it ended. Raises Stopped by `stop`."""
        began = time.perf_counter()
        cause = self._execute()
        if self._stopped.is_set():
            raise Stopped(self.source.stem)
        cell, error = (self.cell, cause) if cause else first_failure(self.notebook)
        not_kept = self._keep()  # also where a cell has failed
        error = error or not_kept
        return replace(
            self.record,
            status="failed" if error else "done",
            seconds=round(time.perf_counter() - began, 3),
            peak_memory_bytes=self.peak_memory_bytes,
            cell=cell,
            error=error,
        )

    def stop(self) -> None:
        """Kill the kernel and what it started; `__call__` then raises Stopped."""
        self._stopped.set()
        if self._kernel:
            with suppress(psutil.Error):
                for process in [*self._kernel.children(recursive=True), self._kernel]:
                    process.kill()

    def _execute(self) -> str:
        """What ended the execution, in one line; empty if the cells are to say."""
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
            on_notebook_start=lambda notebook: self._observe(client.km),
            on_cell_execute=lambda cell, cell_index: self._enter(cell_index),
        )
        try:
            with self._log() as log:
                client.execute(env=self.environment, stdout=log, stderr=log)
        except CellExecutionError:
            return ""
        except DeadKernelError:
            return f"the kernel died (killed, or out of memory?); see logs/{self.source.stem}.log"
        except CellTimeoutError:
            return f"not finished after {self.timeout} seconds; allow more with --timeout"
        except Exception as error:
            return summarize(error)
        return ""

    def _keep(self) -> str:
        """Keep the executed notebook; what went wrong with that, if anything."""
        try:
            text = nbformat.writes(self.notebook)  # type: ignore[no-untyped-call]
            write_text(self.run / "notebooks" / self.source.name, text + "\n")
        except LabError as error:
            return str(error)
        return ""

    def _enter(self, index: int) -> None:
        if self._stopped.is_set():
            raise Stopped(self.source.stem)
        cells = [i for i, cell in enumerate(self.notebook.cells) if is_executable(cell)]
        self.cell = cells.index(index) + 1
        self.watch(self.cell, len(cells))

    def _observe(self, manager: Any) -> None:  # noqa: ANN401 - its provisioner has no fixed type
        self._kernel = psutil.Process(manager.provisioner.pid)
        threading.Thread(target=self._sample, args=(self._kernel,), daemon=True).start()

    def _sample(self, kernel: psutil.Process) -> None:
        """Follow the memory of the kernel and what it started, until it ends."""
        with suppress(psutil.Error):
            while kernel.is_running():
                self.peak_memory_bytes = max(self.peak_memory_bytes or 0, resident(kernel))
                time.sleep(SAMPLE_SECONDS)

    @contextmanager
    def _log(self) -> Iterator[IO[bytes]]:
        path = self.run / "logs" / f"{self.source.stem}.log"
        with explained(path):
            path.parent.mkdir(exist_ok=True)
            log = path.open("wb")
        with log:
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


def first_failure(notebook: NotebookNode) -> tuple[int | None, str]:
    """Number and error of the first cell that failed or never ran; (None, "") if there is none.

    A cell tagged `raises-exception` may fail, but never by sys.exit.
    """
    for number, cell in enumerate(filter(is_executable, notebook.cells), start=1):
        for output in cell.outputs:
            may_fail = "raises-exception" in cell.metadata.get("tags", [])
            if output.output_type == "error" and not (may_fail and output.ename != "SystemExit"):
                return number, one_line(output.ename, output.evalue)
        if cell.execution_count is None:
            return number, "the cell was never executed"
    return None, ""


def resident(process: psutil.Process) -> int:
    """Resident memory of a process and all its descendants, in bytes.

    Pages of files, mostly libraries that all of them load, are the same memory: counted once.
    (The system's own proportional count takes milliseconds for each sample, under a lock that the
    process needs, while the lab may be clocking.)
    """
    private, files = 0, 0
    for member in [process, *process.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            memory = member.memory_info()
            shared = int(getattr(memory, "shared", 0))  # known on Linux
            private += int(memory.rss) - shared
            files = max(files, shared)
    return private + files
