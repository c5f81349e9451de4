"""`labs doctor`: what this machine lacks to run the labs, and what to do about it."""

from __future__ import annotations

import platform
import shutil
import sys
import tempfile
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


def examine(root: Path, runs: Path) -> list[Finding]:
    """All findings about this machine; `root` is the folder of the course."""
    checks: dict[str, Callable[[], Finding]] = {
        "torch": torch,
        "kernel": kernel,
        "memory": memory,
        "runs": lambda: runs_folder(runs),
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
    python = f"Python {platform.python_version()}"
    if not constraints.is_file():
        remedy = "run in a checkout of the course"
        return [Finding("warning", "versions", f"{python}, no {constraints}", remedy)]
    tested = requirements(constraints.read_text(encoding="utf-8").splitlines())
    names = requirements(requires(DISTRIBUTION) or [])
    found = [finding for name in names if (finding := package(name, tested.get(name)))]
    return found or [Finding("ok", "versions", f"{python}, packages as in constraints.txt")]


def package(name: str, tested: SpecifierSet | None) -> Finding | None:
    """What is wrong with one package, if anything."""
    try:
        installed = version(name)
    except PackageNotFoundError:
        return Finding("problem", name, "not installed", "run `make run` in the course's folder")
    if tested is None or tested.contains(installed, prereleases=True):
        return None
    detail = f"{installed}, tested with {tested}"
    return Finding("warning", name, detail, f"pip install {name}{tested}")


def torch() -> Finding:
    """Torch, its threads, and the GPU."""
    import torch as library

    gpu = library.cuda.get_device_name() if library.cuda.is_available() else "no GPU"
    threads = f"{library.get_num_threads()} threads on {psutil.cpu_count()} CPUs"
    return Finding("ok", "torch", f"{library.__version__}, {threads}, {gpu}")


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
    """Whether files can be made in `folder`, which is made for that, and enough of them."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            free = shutil.disk_usage(folder).free
    except OSError as error:
        remedy = "name another folder with --runs-dir"
        return Finding("problem", "runs", f"{folder}: {error.strerror}", remedy)
    detail, remedy = f"{free / GB:.1f} GB free for {folder}", "free space, or choose --runs-dir"
    level: Level = "problem" if free < NEEDED_DISK else "warning"
    return judged("runs", detail, free >= COMFORTABLE_DISK, remedy, level)


def requirements(lines: Iterable[str]) -> dict[str, SpecifierSet]:
    """The packages of these lines with their versions, those for this Python and system only."""
    read = [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]
    here = {"extra": ""}
    return {r.name: r.specifier for r in read if r.marker is None or r.marker.evaluate(here)}
