"""A notebook run to its end whatever its cells do, in a kernel with limits."""

from __future__ import annotations

import os
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import DEVNULL
from threading import Event
from typing import Any

from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from nbformat.v4 import new_output
from traitlets import Instance
from traitlets.config import Config

from labsupport.core.errors import summarize
from labsupport.coursework.exercises import code_cells
from labsupport.coursework.processes import MARK, Limits, Watch, kill_marked
from labsupport.runs.execute import QUIET

OUTPUTS = ("stream", "display_data", "update_display_data", "execute_result")
MOST_OUTPUT = 100_000  # characters that are kept of a cell's output


class Client(NotebookClient):
    """A client that keeps only so much of what a cell puts out."""

    _put_out: Counter[int] = Instance(Counter, ())  # type: ignore[assignment]

    def process_message(
        self, msg: dict[str, Any], cell: NotebookNode, cell_index: int
    ) -> NotebookNode | None:
        """Drop outputs beyond the limit; what says how the kernel is doing always passes."""
        if msg["msg_type"] in OUTPUTS:
            self._put_out[cell_index] += len(str(msg["content"]))
            if self._put_out[cell_index] > MOST_OUTPUT:
                return None
        return super().process_message(msg, cell, cell_index)


@dataclass
class LimitedRun:
    """A notebook of code cells to be executed in `folder`; a cell that fails does not stop it.

    When the kernel dies, or is killed at a limit, what ran before counts, and each cell that did
    not end gets an error that says why.
    """

    notebook: NotebookNode
    folder: Path
    limits: Limits
    stopped: Event
    _ended: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._watch = Watch(uuid.uuid4().hex, self.limits, self.stopped)

    def __call__(self) -> None:
        """Execute, then kill whatever the notebook left running."""
        reason = ""
        try:
            self._execute()
        except DeadKernelError:
            reason = "the kernel died"
        except CellTimeoutError:
            reason = f"could not be stopped after {self.limits.cell_seconds} seconds"
        except Exception as error:  # nothing that a submission does may stop the others
            reason = summarize(error)
        finally:
            self._watch.done.set()
            kill_marked(self._watch.mark)
        for index, cell in enumerate(self.notebook.cells):
            if index not in self._ended:
                add_error(cell, "NotFinished", self._watch.reason or reason)

    def _execute(self) -> None:
        """Run all cells. nbclient's exceptions say what ended the kernel."""
        late = f"took more than {self.limits.cell_seconds} seconds"
        client: Client = Client(
            self.notebook,
            kernel_name="python3",
            timeout=self.limits.cell_seconds,
            interrupt_on_timeout=True,
            error_on_timeout={"ename": "TimeoutError", "evalue": late, "traceback": []},
            raise_on_iopub_timeout=True,
            allow_errors=True,
            record_timing=False,
            store_widget_state=False,
            shutdown_kernel="immediate",
            resources={"metadata": {"path": str(self.folder)}},
            config=Config({"KernelManager": {"transport_encryption": "auto"}}),
            log=QUIET,
            on_notebook_start=lambda notebook: self._started(client.km),
            on_cell_executed=lambda cell, cell_index, execute_reply: self._left(
                cell, cell_index, execute_reply["content"]
            ),
        )
        environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ, MARK: self._watch.mark}
        client.execute(env=environment, stdout=DEVNULL, stderr=DEVNULL)

    def _started(self, manager: Any) -> None:  # noqa: ANN401 - its provisioner has no fixed type
        self._watch.start(manager.provisioner.pid)

    def _left(self, cell: NotebookNode, index: int, reply: Mapping[str, Any]) -> None:
        """Note that a cell ended, with an error that its outputs lack: a time-out, or sys.exit."""
        self._ended.add(index)
        name = reply.get("ename", "Aborted")
        if reply["status"] != "ok" and name not in [error.ename for error in errors_of(cell)]:
            add_error(cell, name, reply.get("evalue", ""))


def errors_of(cell: NotebookNode) -> list[NotebookNode]:
    """The errors among the outputs of a cell."""
    return [output for output in cell.get("outputs", []) if output.output_type == "error"]


def add_error(cell: NotebookNode, name: str, text: str) -> None:
    """Let a cell end in an error."""
    error = new_output("error", ename=name, evalue=text, traceback=[f"{name}: {text}"])  # type: ignore[no-untyped-call]
    cell.outputs = [*cell.get("outputs", []), error]


def cleared(notebook: NotebookNode) -> NotebookNode:
    """The notebook itself, without outputs."""
    for cell in code_cells(notebook.cells):
        cell.outputs, cell.execution_count = [], None
    return notebook
