"""`labs doctor`: what this machine lacks to run the labs, and what to do about it."""

from __future__ import annotations

import platform
import shutil
import sys
import tempfile
import webbrowser
from collections.abc import Callable, Iterable
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Literal, NamedTuple

import psutil
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from labsupport.core.errors import summarize

DISTRIBUTION = "efficient-networks-labs"
GB = 10**9
NEEDED_DISK, COMFORTABLE_DISK, COMFORTABLE_MEMORY = 1 * GB, 5 * GB, 3 * GB

Level = Literal["ok", "warning", "problem"]


class Finding(NamedTuple):
    """One thing that was checked; `remedy` says what to do about a warning or a problem."""

    level: Level
    subject: str
    detail: str
    remedy: str = ""

    def __str__(self) -> str:
        remedy = f" -> {self.remedy}" if self.remedy else ""
        return f"{self.level:8} {self.subject}: {self.detail}{remedy}"


def examine(root: Path, runs: Path, data_dir: Path | None) -> list[Finding]:
    """All findings about this machine; `root` is the folder of the course."""
    checks: dict[str, Callable[[], Finding]] = {
        "torch": torch,
        "kernel": kernel,
        "memory": memory,
        "runs": lambda: runs_folder(runs),
        "data": lambda: data_sets(data_dir),
        "browser": browser,
    }
    found = [examined(subject, check) for subject, check in checks.items()]
    return [*packages(root / "constraints.txt"), *found]


def examined(subject: str, check: Callable[[], Finding]) -> Finding:
    """What a check finds; one that cannot even be made is a problem (a broken package, mostly)."""
    try:
        return check()
    except Exception as error:  # a broken build of torch raises nearly anything
        remedy = "install the course again: `make clean run`"
        return Finding("problem", subject, summarize(error), remedy)


def judged(subject: str, detail: str, fine: bool, remedy: str, level: Level = "warning") -> Finding:
    """A finding of `level` with its remedy, or a plain one if all is fine."""
    return Finding("ok", subject, detail) if fine else Finding(level, subject, detail, remedy)


def packages(constraints: Path) -> list[Finding]:
    """What is not there of the packages, or not in the version that the labs were tested with."""
    tested, found = pinned(constraints), []
    for name in requirements(requires(DISTRIBUTION) or []):
        try:
            installed = version(name)
        except PackageNotFoundError:
            remedy = "run `make run` in the course's folder"
            found.append(Finding("problem", name, "not installed", remedy))
            continue
        pin = tested.get(name, SpecifierSet())
        if not pin.contains(installed, prereleases=True):
            detail = f"{installed}, tested with {pin}"
            found.append(Finding("warning", name, detail, f"pip install {name}{pin}"))
    python, remedy = f"Python {platform.python_version()}", "run in a checkout of the course"
    if not tested:
        found.append(Finding("warning", "versions", f"{python}, no {constraints}", remedy))
    return found or [Finding("ok", "versions", f"{python}, packages as in constraints.txt")]


def torch() -> Finding:
    """Torch, its threads, and the GPU."""
    import torch as library

    threads, cores = library.get_num_threads(), psutil.cpu_count()
    cuda = library.cuda.is_available()
    gpu = library.cuda.get_device_name() if cuda else "no GPU (quick and lab need none)"
    return Finding(
        "ok", "torch", f"{library.__version__}, {threads} threads on {cores} CPUs, {gpu}"
    )


def kernel() -> Finding:
    """Whether Jupyter's python3 kernel is this Python."""
    from jupyter_client.kernelspec import KernelSpecManager

    command = KernelSpecManager().get_kernel_spec("python3").argv[0]
    same = shutil.which(command) in (None, sys.executable) or command.startswith("python")
    remedy = f"{sys.executable} -m ipykernel install --sys-prefix"
    return judged("kernel", f"python3 is {command}", same, remedy)


def memory() -> Finding:
    """Whether enough memory is free."""
    free = psutil.virtual_memory().available
    enough = free >= COMFORTABLE_MEMORY
    return judged("memory", f"{free / GB:.1f} GB free", enough, "close other programs")


def runs_folder(folder: Path) -> Finding:
    """Whether files can be made in `folder`, or where it will be made, and enough of them."""
    try:
        with tempfile.TemporaryFile(dir=nearest(folder)):
            free = shutil.disk_usage(nearest(folder)).free
    except OSError as error:
        remedy = "name another folder with --runs-dir"
        return Finding("problem", "runs", f"{folder}: {error.strerror}", remedy)
    detail, remedy = f"{free / GB:.1f} GB free for {folder}", "free space, or choose --runs-dir"
    level: Level = "problem" if free < NEEDED_DISK else "warning"
    return judged("runs", detail, free >= COMFORTABLE_DISK, remedy, level)


def data_sets(data_dir: Path | None) -> Finding:
    """Which data sets are there; the lab profile needs mnist."""
    from labsupport.data import status

    present = [source.name for source in status(data_dir) if source.present]
    remedy = "`labs data mnist`, before the lab profile"
    return judged("data", ", ".join(present), "mnist" in present, remedy)


def browser() -> Finding:
    """Whether a browser can show the report."""
    try:
        webbrowser.get()
    except webbrowser.Error:
        return Finding("warning", "browser", "none", "open the report on another machine")
    return Finding("ok", "browser", "one that shows the report")


def pinned(constraints: Path) -> dict[str, SpecifierSet]:
    """The tested versions of packages in a constraints file, if there is one."""
    lines = constraints.read_text(encoding="utf-8").splitlines() if constraints.is_file() else []
    return requirements(line for line in lines if line.strip() and not line.startswith("#"))


def requirements(lines: Iterable[str]) -> dict[str, SpecifierSet]:
    """The packages of these lines with their versions, those for this Python and system only."""
    read, here = map(Requirement, lines), {"extra": ""}
    return {r.name: r.specifier for r in read if r.marker is None or r.marker.evaluate(here)}


def nearest(folder: Path) -> Path:
    """`folder`, or the closest folder above it that exists."""
    absolute = folder.absolute()
    return next(path for path in (absolute, *absolute.parents) if path.exists())
