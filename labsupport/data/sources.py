"""Any set by its name: the registry, paths of the user's own, and where sets lie."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from labsupport.core.course import course_root
from labsupport.core.errors import LabError
from labsupport.core.files import files_hash
from labsupport.data.folder import read_folder, read_imagenet, read_tiny_imagenet
from labsupport.data.idx import idx_files, read_fashion_mnist, read_mnist
from labsupport.data.images import Raw
from labsupport.data.named import NamedSet, read_cifar, read_mnist5k, read_stl
from labsupport.data.table import read_csv

PATH_READERS: dict[str, Callable[[Path], Raw]] = {"folder": read_folder, "csv": read_csv}
MNIST = idx_files("MNIST"), "MNIST", "MNIST/raw/*.gz", 12
FASHION = idx_files("FashionMNIST"), "FashionMNIST", "FashionMNIST/raw/*.gz", 31
CIFAR10 = ("cifar-10-batches-py/batches.meta",), "CIFAR10", "cifar-10-python.tar.gz", 170
STL10 = ("stl10_binary/class_names.txt",), "STL10", "stl10_binary.tar.gz", 2640
SOURCES = {
    "mnist5k": NamedSet(read_mnist5k),
    "mnist": NamedSet(read_mnist, *MNIST),
    "fashion_mnist": NamedSet(read_fashion_mnist, *FASHION),
    "cifar10": NamedSet(read_cifar, *CIFAR10),
    "stl10": NamedSet(read_stl, *STL10),
    "tiny_imagenet": NamedSet(read_tiny_imagenet, ("tiny-imagenet-200/train",)),
    "imagenet": NamedSet(read_imagenet, ("imagenet/train",)),
}


def read(name: str, data_dir: str | Path | None = None) -> Raw:
    """The images of a set by name, `folder:PATH` or `csv:PATH`. Raises LabError if it cannot."""
    check_name(name)
    folder = data_folder(data_dir)
    if name in SOURCES:
        return SOURCES[name].read(name, folder)
    kind, _, path = name.partition(":")
    return PATH_READERS[kind](find_path(path, folder))


def check_name(name: str) -> None:
    """Raises LabError, with the right names, for one that `load` does not understand."""
    kind, _, path = name.partition(":")
    if name not in SOURCES and not (kind in PATH_READERS and path):
        right = ", ".join([*SOURCES, *(f"{kind}:PATH" for kind in PATH_READERS)])
        raise LabError(f"there is no data set {name!r}", f"choose one of {right}")


def data_folder(data_dir: str | Path | None = None) -> Path:
    """Where sets lie: the argument, else LABS_DATA, else the course's data folder."""
    return Path(data_dir or os.environ.get("LABS_DATA") or course_root() / "data").expanduser()


def find_path(path: str, folder: Path) -> Path:
    """A path of the user's, relative to the current folder or, if not there, to the data folder.

    Raises LabError if it is in neither.
    """
    for place in (Path(path).expanduser(), folder / path):
        if place.exists():
            return place
    raise LabError(f"there is no {path}, neither here nor in {folder}", "check the path")


def absolute_name(name: str, folder: Path) -> str:
    """The name of a set with the path in it, if it has one, absolute: the same from any folder.

    Raises LabError if there is nothing at the path.
    """
    kind, colon, path = name.partition(":")
    return f"{kind}:{find_path(path, folder).resolve()}" if colon else name


def state(name: str, data_dir: str | Path | None = None) -> str:
    """What stands for the files of a set, and where they lie; empty if none are there."""
    known = SOURCES[name].shown_by if name in SOURCES else filter(None, [name.partition(":")[2]])
    files = [(data_folder(data_dir) / file).resolve() for file in known]
    try:
        return f"{files_hash(files)} at {os.path.commonpath(files)}" if files else ""
    except OSError:
        return ""


def fetch(name: str, data_dir: str | Path | None = None) -> None:
    """See that a set by name is there: download it, or again where it is damaged.

    Raises LabError if it cannot be had.
    """
    if name in SOURCES:
        SOURCES[name].fetch(name, data_folder(data_dir))
    else:
        read(name, data_dir)
