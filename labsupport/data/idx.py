"""MNIST and its kin: four files in the IDX format, checked before they are read."""

from __future__ import annotations

import hashlib
from math import prod
from pathlib import Path
from typing import Any

from labsupport.core.errors import LabError
from labsupport.data.images import InMemory, Raw

# Of the published MNIST, unpacked: torchvision knows the checksums of the archives alone.
SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


def idx_files(kind: str, ending: str = "") -> tuple[str, ...]:
    """The four files of MNIST and its kin, relative to the data folder."""
    return tuple(f"{kind}/raw/{name}{ending}" for name in SHA256)


def read_mnist(kind: type[Any], folder: Path) -> Raw:
    """The published MNIST. Raises LabError naming a file that is not as it was published."""
    raw = read_idx(kind, folder)
    for file in idx_files(kind.__name__):
        with (folder / file).open("rb") as content:
            found = hashlib.file_digest(content, "sha256").hexdigest()
        if found != SHA256[Path(file).name]:
            problem = f"{Path(file).name} is not the published file (its checksum differs)"
            raise LabError(problem)
    return raw


def read_idx(kind: type[Any], folder: Path) -> Raw:
    """MNIST or its kin: 60,000 + 10,000 gray images of 28 x 28.

    Raises LabError naming a file whose length is not the one its header states. Torchvision's own
    class would prefer files of its old versions, which nobody has checked.
    """
    from torchvision.datasets.mnist import read_image_file, read_label_file  # takes seconds

    files = [folder / file for file in idx_files(kind.__name__)]
    for file in files:
        _check_length(file)
    train, test = (
        InMemory(read_image_file(images).unsqueeze(1), read_label_file(labels))
        for images, labels in (files[:2], files[2:])
    )
    names = tuple(name.split(" - ")[0] for name in kind.classes)  # "0 - zero" is plain 0 here
    return Raw(train, None, test, names)


def _check_length(file: Path) -> None:
    """Raises LabError unless a file has the header of its kind, and as many bytes as that states.

    The header: two zeros, the type (8 for bytes), the number of dimensions, then their lengths,
    four bytes each, the highest first (LeCun, Cortes and Burges, The MNIST database, 1998).
    """
    dimensions = 3 if "idx3" in file.name else 1
    start, size = 4 + 4 * dimensions, file.stat().st_size
    with file.open("rb") as content:
        head = content.read(start)
    if not bytes([0, 0, 8, dimensions]).startswith(head[:4]):
        problem = f"{file.name} does not begin as an IDX file of {dimensions} dimensions does"
        raise LabError(problem)
    expected = start + prod(int.from_bytes(head[at : at + 4]) for at in range(4, start, 4))
    if size < expected:
        raise LabError(f"{file.name} is cut short: it ends after {size:,} bytes")
    if size > expected:
        raise LabError(f"{file.name} is too long: {size:,} bytes, not {expected:,}")
