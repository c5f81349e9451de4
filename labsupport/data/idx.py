"""MNIST and its kin: four files in the IDX format, refused if they are damaged."""

from __future__ import annotations

from pathlib import Path

from labsupport.core.errors import LabError
from labsupport.core.files import file_hash
from labsupport.data.images import InMemory, Raw

# Of the published MNIST, unpacked: torchvision knows the checksums of the archives alone.
SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


def idx_files(kind: str) -> tuple[str, ...]:
    """The four files of MNIST and its kin, relative to the data folder."""
    return tuple(f"{kind}/raw/{name}" for name in SHA256)


def read_mnist(folder: Path) -> Raw:
    """The published MNIST: 60,000 + 10,000 gray images of 28 x 28."""
    for file in idx_files("MNIST"):
        if file_hash(folder / file) != SHA256[Path(file).name]:
            raise LabError(f"{Path(file).name} is not the published file (its checksum differs)")
    return _read_idx("MNIST", folder)


def read_fashion_mnist(folder: Path) -> Raw:
    """Fashion-MNIST: as many images of clothes, of the same size."""
    return _read_idx("FashionMNIST", folder)


def _read_idx(kind: str, folder: Path) -> Raw:
    """The four files; torchvision's own class would prefer unchecked ones of its old versions."""
    from torchvision import datasets  # takes seconds
    from torchvision.datasets.mnist import read_image_file, read_label_file

    images, labels, test_images, test_labels = (str(folder / file) for file in idx_files(kind))
    train, test = (
        InMemory(read_image_file(pixels).unsqueeze(1), read_label_file(classes))
        for pixels, classes in ((images, labels), (test_images, test_labels))
    )
    names = (name.split(" - ")[0] for name in getattr(datasets, kind).classes)  # not "0 - zero"
    return Raw(train, None, test, tuple(names))
