"""Any set by name in its three parts: `load` them as tensors, or `stream` them from disk."""

from __future__ import annotations

from pathlib import Path

import psutil
import torch

from labsupport.core.errors import LabError, summarize
from labsupport.core.tensors import hash_tensors
from labsupport.data.images import Framing
from labsupport.data.partition import Partition, Subset, partition
from labsupport.data.sources import read
from labsupport.data.splits import Split, Splits, normalized, statistics
from labsupport.data.streaming import StreamedSplit

BYTES_PER_PIXEL = 5  # float32, and uint8 while it is normalized
SAMPLE = 5000  # training images from which `stream` takes mean and standard deviation


def load(
    name: str,
    *,
    data_dir: str | Path | None = None,
    seed: int = 0,
    val_fraction: float = 0.1,
    size: int | None = None,
    crop: int | None = None,
    device: str | torch.device = "cpu",
    max_train: int | None = None,
) -> Splits:
    """A set in train, validation and test parts, held as normalized tensors on the device.

    `name` is one of NAMES, `folder:PATH` or `csv:PATH`; `data_dir` the folder of the sets, else
    LABS_DATA, else the course's data folder. `seed` deals train and validation; the test part
    never changes. `size` resizes and `crop` cuts the center, in pixels. `max_train` keeps that
    many training images, drawn by chance. An absent torchvision set is downloaded.
    Raises LabError for whatever is wrong with these or with the set, and when it does not fit in
    memory (then `stream` is the way).
    """
    framing, place = Framing(size, crop), usable_device(device)
    raw = read(name, data_dir)
    parts = partition(raw, seed, val_fraction, max_train)
    _check_memory(name, parts, framing, place)
    pixels = [part.read(framing) for part in parts]
    labels = [part.labels for part in parts]
    mean, std = statistics(pixels[0])
    fingerprint = hash_tensors(pixels + labels)
    train, val, test = (
        Split(normalized(x, mean, std, place), y.to(place))
        for x, y in zip(pixels, labels, strict=True)
    )
    return Splits(name, train, val, test, raw.classes, mean, std, fingerprint)


def stream(
    name: str,
    *,
    data_dir: str | Path | None = None,
    seed: int = 0,
    val_fraction: float = 0.1,
    size: int | None = None,
    crop: int | None = None,
    device: str | torch.device = "cpu",
    max_train: int | None = None,
) -> Splits[StreamedSplit]:
    """Like `load`, but image files stay on disk and are read as batches ask for them.

    The parts are the same as those of `load`. Mean and standard deviation come from the training
    part, from 5,000 of its images where it has more; the fingerprint stands for these, all labels
    and who goes where, not for every pixel. Raises LabError as `load` does.
    """
    framing, place = Framing(size, crop), usable_device(device)
    raw = read(name, data_dir)
    parts = partition(raw, seed, val_fraction, max_train)
    parts.image_shape(framing)  # refuses parts that differ
    sample = Subset(parts.train.images, parts.train.rows[:SAMPLE]).read(framing)
    mean, std = statistics(sample)
    known = [tensor for part in parts for tensor in (part.rows, part.labels)]
    fingerprint = hash_tensors([sample, *known])
    train, val, test = (StreamedSplit(part, framing, mean, std, place) for part in parts)
    return Splits(name, train, val, test, raw.classes, mean, std, fingerprint)


def usable_device(device: str | torch.device) -> torch.device:
    """The device, proved by a first allocation. Raises LabError if it is not there."""
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        problem = f"the device {device} cannot be used: {summarize(error)}"
        raise LabError(problem, 'use "cpu"') from error


def _check_memory(name: str, parts: Partition, framing: Framing, device: torch.device) -> None:
    pixels = torch.Size(parts.image_shape(framing)).numel() * sum(len(part.rows) for part in parts)
    needed, free = pixels * BYTES_PER_PIXEL, psutil.virtual_memory().available
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
    if needed > free:
        raise LabError(
            f"{name} needs {needed / 1e9:.1f} GB as tensors, and {free / 1e9:.1f} GB are free",
            f'read it as it is used with stream("{name}", ...), or give a smaller size= or '
            "max_train= (in a lab: -p size=32 -p max_train=5000)",
        )
