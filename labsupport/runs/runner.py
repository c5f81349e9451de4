"""The labs of a run in order of need: one failing lab stops only those that need it."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from pathlib import Path

from labsupport.core.files import explained
from labsupport.runs.catalog import Catalog
from labsupport.runs.conditions import Rows, current
from labsupport.runs.display import Display
from labsupport.runs.execute import Execution
from labsupport.runs.parameters import parameters_of
from labsupport.runs.prepare import Request, data_files
from labsupport.runs.record import LabRecord, RunRecord, now, write_record
from labsupport.sweep import SCHEDULER


@dataclass
class Runner:
    """Runs the labs of a run that are still to be done, on `machine` (the rows of its report)."""

    run: Path
    record: RunRecord
    catalog: Catalog
    request: Request
    machine: Rows
    display: Display
    _running: dict[Future[LabRecord], tuple[str, Execution]] = field(default_factory=dict)

    def __call__(self) -> None:
        """Run what is not done, as many labs at once as asked; the record is kept after each.

        Raises LabError when the record cannot be written. However it ends, kernels are stopped
        and labs that were cut short are pending again.
        """
        labs = self.record.labs  # a need that is not part of this run is taken as met
        sorter = TopologicalSorter({lab: labs.keys() & self.catalog[lab].needs for lab in labs})
        sorter.prepare()
        waiting: list[str] = []
        with ThreadPoolExecutor(self.request.jobs) as pool:
            try:
                while sorter.is_active():
                    waiting = sorted([*waiting, *sorter.get_ready()])
                    sorter.done(*(self._start(pool, waiting) or self._finish()))
            except BaseException:
                self._stop()
                raise

    def _start(self, pool: ThreadPoolExecutor, waiting: list[str]) -> list[str]:
        """Start waiting labs while there is room; return those that need not run."""
        not_run = []
        while waiting and len(self._running) < self.request.jobs:
            lab = waiting.pop(0)
            if self.record.labs[lab].status == "done" or self._skip(lab):
                not_run.append(lab)
            else:
                self._launch(pool, lab)
        return not_run

    def _skip(self, lab: str) -> bool:
        """Whether a lab must be skipped, because one that it needs did not finish."""
        if missing := [need for need in self.catalog[lab].needs if need in self.record.failed]:
            record = self.record.labs[lab]
            record.status = "skipped"
            record.error = f"it needs {', '.join(missing)}, which did not finish"
            self._ended(lab)
        return bool(missing)

    def _launch(self, pool: ThreadPoolExecutor, lab: str) -> None:
        self._clear(lab)
        record, source, request = self.record.labs[lab], self.catalog[lab].path, self.request
        defaults = {name: p.default for name, p in parameters_of(source).items()}
        record.status, record.started = "running", now()
        record.conditions = current(
            source, request.jobs, request.scheduler, self.machine, self._data(record)
        )
        execution = Execution(
            source,
            self.run,
            record,
            {n: v for n, v in record.parameters.items() if v != defaults.get(n)},
            environment(self.record.data_dir, request.scheduler),
            request.timeout,
            lambda cell, cells: self.display.cell(lab, cell, cells),
        )
        write_record(self.run, self.record)
        self.display.started(lab)
        self._running[pool.submit(execution)] = (lab, execution)

    def _finish(self) -> list[str]:
        """Wait until a running lab ends, if any runs; return those that have ended."""
        ended = wait(self._running, return_when=FIRST_COMPLETED).done if self._running else set()
        labs = {self._running.pop(future)[0]: future.result() for future in ended}
        self.record.labs |= labs
        for lab, record in labs.items():
            if ran := record.conditions:  # the lab may have downloaded its set
                record.conditions = ran.model_copy(update={"data": self._data(record) | ran.data})
            self._ended(lab)
        return list(labs)

    def _data(self, record: LabRecord) -> dict[str, str]:
        return data_files(record.parameters, self.run, self.record.data_dir)

    def _ended(self, lab: str) -> None:
        write_record(self.run, self.record)
        self.display.ended(lab, self.record.labs[lab])

    def _stop(self) -> None:
        for lab, execution in self._running.values():
            execution.stop()
            self.record.labs[lab] = self.record.labs[lab].pending()
        write_record(self.run, self.record)

    def _clear(self, lab: str) -> None:
        """Remove what an earlier attempt left, so that nothing of it is taken for results."""
        for folder in (self.run / "tables" / lab, self.run / "figures" / lab):
            with explained(folder), suppress(FileNotFoundError):
                shutil.rmtree(folder)


def environment(data_dir: Path | None, scheduler: str | None) -> dict[str, str]:
    """This process's environment, with a run's data folder and its Dask scheduler.

    The folder is absolute: kernels run elsewhere.
    """
    folder = data_dir or os.environ.get("LABS_DATA")
    given = {"LABS_DATA": folder and str(Path(folder).resolve()), SCHEDULER: scheduler}
    return {**os.environ, **{name: value for name, value in given.items() if value}}
