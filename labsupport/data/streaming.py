"""A part of a set that is read from disk as batches ask for it: what does not fit in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import starmap

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from labsupport.core.errors import LabError
from labsupport.data.images import Framing, Shape
from labsupport.data.partition import Subset
from labsupport.data.splits import Batch, Batches, check_batch_size, normalized


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
        count = len(self)
        order = torch.randperm(count, generator=generator) if generator else torch.arange(count)
        return DataLoader(
            self,
            batch_size=None,  # the sampler hands out whole batches, which are decoded together
            sampler=[rows.tolist() for rows in torch.split(order, batch_size)],
            generator=generator,
            num_workers=self.workers,
            pin_memory=self.device.type == "cuda",
        )

    def take(self, n: int) -> StreamedSplit:
        """The first n images, still on disk."""
        return replace(self, subset=Subset(self.subset.images, self.subset.rows[:n]))
