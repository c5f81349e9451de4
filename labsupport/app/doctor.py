"""`labs doctor`: what this machine lacks to run the labs, and the way out."""

from __future__ import annotations

import shutil
import sys
import tempfile
import webbrowser
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Literal

import psutil
from packaging.requirements import Requirement
from packaging.version import Version

from labsupport.core.errors import LabError

Level = Literal["ok", "warning", "problem"]

DISTRIBUTION = "efficient-networks-labs"
OLDEST_PYTHON = (3, 11)
GB = 10**9
NEEDED_DISK, COMFORTABLE_DISK = 1 * GB, 5 * GB
COMFORTABLE_MEMORY = 3 * GB
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


@dataclass(frozen=True)
class Finding:
    """One thing looked at; `remedy` is the way out of a warning or a problem."""

    level: Level
    subject: str
    detail: str
    remedy: str = ""

    def __str__(self) -> str:
        remedy = f" -> {self.remedy}" if self.remedy else ""
        return f"{self.level:8} {self.subject}: {self.detail}{remedy}"


def examine(root: Path, runs: Path, data_dir: Path | None) -> list[Finding]:
    """All findings about this machine; `root` is the folder of the course."""
    looks: list[Callable[[], Iterator[Finding]]] = [
        python,
        lambda: packages(root / "constraints.txt"),
        torch,
        kernel,
        memory,
        lambda: disk(runs),
        lambda: writable(runs),
        lambda: data_sets(data_dir),
        browser,
    ]
    return [finding for look in looks for finding in look()]


def python() -> Iterator[Finding]:
    """Whether Python is new enough."""
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] < OLDEST_PYTHON:
        yield Finding("problem", "Python", found, "install Python 3.11 or newer")
    else:
        yield Finding("ok", "Python", found)


def packages(constraints: Path) -> Iterator[Finding]:
    """Whether the packages of the labs are there, in the versions they were tried with."""
    tried = pinned(constraints)
    wrong = []
    for name in needed():
        try:
            found = version(name)
        except PackageNotFoundError:
            yield Finding("problem", name, "not installed", "run `make run` in the course's folder")
            continue
        if name in tried and Version(found) != Version(tried[name]):
            wrong.append(name)
            remedy = f"pip install {name}=={tried[name]}"
            yield Finding("warning", name, f"{found}, tried with {tried[name]}", remedy)
    if not tried:
        yield Finding("warning", "versions", f"no {constraints}", "run in a checkout of the course")
    elif not wrong:
        yield Finding("ok", "versions", "as in constraints.txt")


def torch() -> Iterator[Finding]:
    """Whether torch can be imported, its threads, and the accelerator."""
    try:
        import torch as library
    except Exception as error:  # a broken build raises nearly anything
        yield Finding("problem", "torch", str(error), "install it again: `make clean run`")
        return
    threads, cores = library.get_num_threads(), psutil.cpu_count()
    yield Finding("ok", "torch", f"{library.__version__}, {threads} threads on {cores} CPUs")
    found = library.cuda.get_device_name() if library.cuda.is_available() else "none"
    detail = found if found != "none" else "none; the quick and lab profiles need none"
    yield Finding("ok", "GPU", detail)


def kernel() -> Iterator[Finding]:
    """Whether Jupyter's python3 kernel is this Python."""
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    try:
        command = KernelSpecManager().get_kernel_spec("python3").argv[0]
    except NoSuchKernel:
        yield Finding("problem", "kernel", "Jupyter has none", "pip install ipykernel")
        return
    if shutil.which(command) in (None, sys.executable) or command.startswith("python"):
        yield Finding("ok", "kernel", "python3 is this Python")
    else:
        remedy = f"{sys.executable} -m ipykernel install --sys-prefix"
        yield Finding("warning", "kernel", f"python3 is {command}", remedy)


def memory() -> Iterator[Finding]:
    """Whether enough memory is free."""
    free = psutil.virtual_memory().available
    detail = f"{free / GB:.1f} GB free"
    if free < COMFORTABLE_MEMORY:
        yield Finding("warning", "memory", detail, "close other programs")
    else:
        yield Finding("ok", "memory", detail)


def disk(folder: Path) -> Iterator[Finding]:
    """Whether the disk that `folder` is on, or will be, has room."""
    free = shutil.disk_usage(nearest(folder)).free
    detail = f"{free / GB:.1f} GB free for {folder}"
    if free < COMFORTABLE_DISK:
        level: Level = "problem" if free < NEEDED_DISK else "warning"
        yield Finding(level, "disk", detail, "free some space, or name another --runs-dir")
    else:
        yield Finding("ok", "disk", detail)


def writable(folder: Path) -> Iterator[Finding]:
    """Whether a file can be made in `folder`, or in the folder it will be made in."""
    try:
        with tempfile.TemporaryFile(dir=nearest(folder)):
            yield Finding("ok", "runs", f"{folder} can be written to")
    except OSError as error:
        remedy = "name another folder with --runs-dir"
        yield Finding("problem", "runs", f"{folder}: {error.strerror}", remedy)


def data_sets(data_dir: Path | None) -> Iterator[Finding]:
    """Which data sets are there."""
    try:
        from labsupport.data import status

        found = status(data_dir)
    except (LabError, ImportError) as error:
        yield Finding("problem", "data", str(error), "see `labs data`")
        return
    there = ", ".join(name for name, present, _ in found if present)
    yield Finding("ok", "data", there)
    if not any(present for name, present, _ in found if name == "mnist"):
        yield Finding("warning", "data", "mnist (lab profile) is not there", "labs data mnist")


def browser() -> Iterator[Finding]:
    """Whether a browser can show the report and run the browser tests."""
    if any(shutil.which(name) for name in CHROMIUMS):
        yield Finding("ok", "browser", "Chromium or Chrome")
        return
    try:
        webbrowser.get()
        yield Finding("ok", "browser", "one that shows the report; browser tests need Chromium")
    except webbrowser.Error:
        yield Finding(
            "warning", "browser", "none", "open the report on another machine, or install Chromium"
        )


def needed() -> list[str]:
    """The packages the labs cannot do without."""
    try:
        lines = [Requirement(line) for line in requires(DISTRIBUTION) or []]
    except PackageNotFoundError:
        return []
    environment = {"extra": ""}
    return [r.name for r in lines if r.marker is None or r.marker.evaluate(environment)]


def pinned(constraints: Path) -> dict[str, str]:
    """Versions by package in a constraints file, those for this Python and system only."""
    if not constraints.is_file():
        return {}
    lines = constraints.read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]
    return {
        pin.name: str(pin.specifier).removeprefix("==")
        for pin in pins
        if pin.marker is None or pin.marker.evaluate()
    }


def nearest(folder: Path) -> Path:
    """`folder`, or the closest folder above it that exists."""
    absolute = folder.absolute()
    return next(path for path in (absolute, *absolute.parents) if path.exists())
