"""`stream`: the same sets and parts, read image by image, for what does not fit in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import starmap
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
)

from labsupport.core.errors import LabError
from labsupport.data.images import Framing, Shape
from labsupport.data.loading import usable_device
from labsupport.data.partition import Subset, partition
from labsupport.data.sources import read
from labsupport.data.splits import (
    Batch,
    Batches,
    Splits,
    check_batch_size,
    hash_tensors,
    normalized,
    statistics,
)

SAMPLE = 5000  # training images from which mean and standard deviation are taken


@dataclass(frozen=True, eq=False)
class StreamedSplit(Dataset[tuple[Tensor, Tensor]]):
    """One part of a set that is read from disk batch by batch, with Split's protocol."""

    subset: Subset
    framing: Framing
    mean: tuple[float, ...]
    std: tuple[float, ...]
    device: torch.device
    workers: int = 0

    def __len__(self) -> int:
        return len(self.subset.rows)

    def __getitem__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        """Some images, normalized, float32 (n, C, H, W), and their classes (n,), on the CPU."""
        chosen = Subset(self.subset.images, self.subset.rows[indices])
        pixels = chosen.read(self.framing)
        return normalized(pixels, self.mean, self.std, torch.device("cpu")), chosen.labels

    @property
    def image_shape(self) -> Shape:
        """(C, H, W)."""
        return self.subset.images.shape(self.framing)

    def batches(self, batch_size: int, generator: torch.Generator | None = None) -> Batches:
        """Pairs (x, y) on the device that go once through the part; shuffled with a generator.

        Raises LabError for a batch size below 1 and for an image that cannot be read.
        """
        check_batch_size(batch_size)
        return self._batches(batch_size, generator)

    def training_batches(self, batch_size: int, generator: torch.Generator) -> Iterator[Batch]:
        """Shuffled batches, as `batches` gives them; a streamed part has no extras."""
        return starmap(Batch, self.batches(batch_size, generator))

    def _batches(self, batch_size: int, generator: torch.Generator | None) -> Batches:
        try:
            for x, y in self._loader(batch_size, generator):
                yield x.to(self.device, non_blocking=True), y.to(self.device, non_blocking=True)
        except LabError as error:  # from a worker it comes wrapped into a stack trace
            problem = error.problem.strip().splitlines()[-1]
            raise LabError(problem.split("LabError: ")[-1], error.remedy) from error

    def _loader(
        self, batch_size: int, generator: torch.Generator | None
    ) -> DataLoader[tuple[Tensor, Tensor]]:
        order: Sampler[int] = (
            RandomSampler(self, generator=generator) if generator else SequentialSampler(self)
        )
        return DataLoader(
            self,
            batch_size=None,  # the sampler hands out whole batches, which are decoded together
            sampler=BatchSampler(order, batch_size, drop_last=False),
            generator=generator,
            num_workers=self.workers,
            pin_memory=self.device.type == "cuda",
        )

    def take(self, n: int) -> StreamedSplit:
        """The first n images, still on disk."""
        return replace(self, subset=Subset(self.subset.images, self.subset.rows[:n]))


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
    workers: int = 0,
) -> Splits[StreamedSplit]:
    """Like `load`, but image files stay on disk and are read as batches ask for them.

    The parts are the same as those of `load`. Mean and standard deviation come from the training
    part, from 5,000 of its images where it has more; the fingerprint stands for these, all labels
    and who goes where, not for every pixel. `workers` are processes that read ahead.
    Raises LabError as `load` does.
    """
    if workers < 0:
        raise LabError(f"workers is {workers}", "choose 0 or more")
    framing, place = Framing(size, crop), usable_device(device)
    raw = read(name, data_dir)
    parts = partition(raw, seed, val_fraction, max_train)
    parts.image_shape(framing)  # refuses parts that differ
    sample = Subset(parts.train.images, parts.train.rows[:SAMPLE]).read(framing)
    mean, std = statistics(sample)
    known = [tensor for part in parts for tensor in (part.rows, part.labels)]
    fingerprint = hash_tensors([sample, *known])
    train, val, test = (StreamedSplit(part, framing, mean, std, place, workers) for part in parts)
    return Splits(name, train, val, test, raw.classes, mean, std, fingerprint)
