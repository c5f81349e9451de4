"""The processes that a submission starts: what they use, and their end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Event, Thread

import psutil

MARK = "LABS_GRADING"  # in the environment of a submission's kernel, so of all that it starts
PAUSE = 0.1  # seconds between two looks


@dataclass(frozen=True)
class Limits:
    """Seconds for a cell and for a notebook, bytes of memory for a kernel and what it starts."""

    cell_seconds: int = 60
    seconds: int = 300
    memory_bytes: int = 4 * 2**30

    def passed(self, seconds: float, memory_bytes: int) -> str:
        """Which limit of the whole notebook was passed, in words; empty for none."""
        if memory_bytes > self.memory_bytes:
            return f"used more than {self.memory_bytes / 2**30:g} GB of memory"
        return f"took more than {self.seconds} seconds in all" if seconds > self.seconds else ""


@dataclass
class Watch:
    """Looks after a kernel: at a limit, or when `stopped` is set, it and what it started die.

    `reason` says why, in words. The looking ends when `done` is set.
    """

    mark: str
    limits: Limits
    stopped: Event
    reason: str = ""
    done: Event = field(default_factory=Event)

    def start(self, pid: int) -> None:
        """Look after the kernel of this process, in a thread."""
        Thread(target=self._look, args=[pid, time.monotonic()], daemon=True).start()

    def _look(self, pid: int, began: float) -> None:
        while not (self.reason or self.done.wait(PAUSE)):
            passed = self.limits.passed(time.monotonic() - began, memory_of(pid))
            self.reason = passed or ("was stopped" if self.stopped.is_set() else "")
        if self.reason:
            kill_marked(self.mark)


def memory_of(pid: int) -> int:
    """Resident bytes of a process and its children; 0 if it has ended."""
    try:
        kernel = psutil.Process(pid)
        return sum(map(_resident, [kernel, *kernel.children(recursive=True)]))
    except psutil.Error:
        return 0


def kill_marked(mark: str) -> None:
    """Kill all processes whose environment has the mark, also those whose parents have ended."""
    for process in _marked(mark):
        with suppress(psutil.Error):
            for each in [*process.children(recursive=True), process]:
                each.kill()


def _marked(mark: str) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == mark:
                yield process


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0
