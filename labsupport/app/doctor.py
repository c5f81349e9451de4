"""`labs doctor`: what this machine lacks to run the labs, and what to do about it."""

from __future__ import annotations

import platform
import shutil
import sys
import tempfile
import webbrowser
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from itertools import chain
from pathlib import Path
from typing import Literal, NamedTuple

import psutil
from packaging.requirements import Requirement
from packaging.version import Version

from labsupport.core.errors import LabError

DISTRIBUTION = "efficient-networks-labs"
GB = 10**9
NEEDED_DISK, COMFORTABLE_DISK = 1 * GB, 5 * GB
COMFORTABLE_MEMORY = 3 * GB
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


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


def judged(subject: str, detail: str, fine: bool, remedy: str, level: Level = "warning") -> Finding:
    """A finding of `level` with its remedy, or a plain one if all is fine."""
    return Finding("ok", subject, detail) if fine else Finding(level, subject, detail, remedy)


def examine(root: Path, runs: Path, data_dir: Path | None) -> list[Finding]:
    """All findings about this machine; `root` is the folder of the course."""
    machine = chain(python(), packages(root / "constraints.txt"), torch(), kernel(), memory())
    return [*machine, *disk(runs), *writable(runs), *data_sets(data_dir), *browser()]


def python() -> Iterator[Finding]:
    """Which Python this is; an older one than the labs need could not have installed them."""
    yield Finding("ok", "Python", platform.python_version())


def packages(constraints: Path) -> Iterator[Finding]:
    """Whether the packages of the labs are there, in the versions they were tested with."""
    tested, differing = pinned(constraints), False
    for name in needed():
        try:
            found = version(name)
        except PackageNotFoundError:
            yield Finding("problem", name, "not installed", "run `make run` in the course's folder")
            continue
        if name in tested and Version(found) != Version(tested[name]):
            differing, remedy = True, f"pip install {name}=={tested[name]}"
            yield Finding("warning", name, f"{found}, tested with {tested[name]}", remedy)
    if not tested:
        yield Finding("warning", "versions", f"no {constraints}", "run in a checkout of the course")
    elif not differing:
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
    none = "none; the quick and lab profiles need none"
    name = library.cuda.get_device_name() if library.cuda.is_available() else none
    yield Finding("ok", "GPU", name)


def kernel() -> Iterator[Finding]:
    """Whether Jupyter's python3 kernel is this Python."""
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    try:
        command = KernelSpecManager().get_kernel_spec("python3").argv[0]
    except NoSuchKernel:
        yield Finding("problem", "kernel", "Jupyter has none", "pip install ipykernel")
        return
    same = shutil.which(command) in (None, sys.executable) or command.startswith("python")
    remedy = f"{sys.executable} -m ipykernel install --sys-prefix"
    yield judged("kernel", f"python3 is {command}", same, remedy)


def memory() -> Iterator[Finding]:
    """Whether enough memory is free."""
    free = psutil.virtual_memory().available
    enough = free >= COMFORTABLE_MEMORY
    yield judged("memory", f"{free / GB:.1f} GB free", enough, "close other programs")


def disk(folder: Path) -> Iterator[Finding]:
    """Whether the disk that `folder` is on, or will be, has room."""
    free = shutil.disk_usage(nearest(folder)).free
    detail, remedy = f"{free / GB:.1f} GB free for {folder}", "free space, or choose --runs-dir"
    level: Level = "problem" if free < NEEDED_DISK else "warning"
    yield judged("disk", detail, free >= COMFORTABLE_DISK, remedy, level)


def writable(folder: Path) -> Iterator[Finding]:
    """Whether a file can be made in `folder`, or in the folder it will be made in."""
    try:
        with tempfile.TemporaryFile(dir=nearest(folder)):
            yield Finding("ok", "runs", f"{folder} is writable")
    except OSError as error:
        remedy = "name another folder with --runs-dir"
        yield Finding("problem", "runs", f"{folder}: {error.strerror}", remedy)


def data_sets(data_dir: Path | None) -> Iterator[Finding]:
    """Which data sets are there."""
    try:
        from labsupport.data import status

        present = [source.name for source in status(data_dir) if source.present]
    except (LabError, ImportError) as error:
        yield Finding("problem", "data", str(error), "see `labs data`")
        return
    yield Finding("ok", "data", ", ".join(present))
    if "mnist" not in present:
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
        remedy = "open the report on another machine, or install Chromium"
        yield Finding("warning", "browser", "none", remedy)


def needed() -> list[str]:
    """The packages the labs cannot do without."""
    try:
        lines = [Requirement(line) for line in requires(DISTRIBUTION) or []]
    except PackageNotFoundError:
        return []
    return [r.name for r in lines if r.marker is None or r.marker.evaluate({"extra": ""})]


def pinned(constraints: Path) -> dict[str, str]:
    """Versions by package in a constraints file, those for this Python and system only."""
    if not constraints.is_file():
        return {}
    lines = constraints.read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]
    here = [pin for pin in pins if pin.marker is None or pin.marker.evaluate()]
    return {pin.name: str(pin.specifier).removeprefix("==") for pin in here}


def nearest(folder: Path) -> Path:
    """`folder`, or the closest folder above it that exists."""
    absolute = folder.absolute()
    return next(path for path in (absolute, *absolute.parents) if path.exists())
