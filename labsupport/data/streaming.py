"""A part of a set that is read from disk as batches ask for it: what does not fit in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import starmap

import torch
from torch import Tensor

from labsupport.data.images import Framing, Shape
from labsupport.data.partition import Subset
from labsupport.data.splits import Batch, Batches, check_batch_size, normalized


@dataclass(frozen=True, eq=False)
class StreamedSplit:
    """One part of a set that is read from disk batch by batch, with Split's protocol."""

    subset: Subset
    framing: Framing
    mean: tuple[float, ...]
    std: tuple[float, ...]
    device: torch.device

    def __len__(self) -> int:
        return len(self.subset.rows)

    @property
    def image_shape(self) -> Shape:
        """(C, H, W)."""
        return self.subset.images.shape(self.framing)

    def batches(self, batch_size: int, generator: torch.Generator | None = None) -> Batches:
        """Pairs (x, y) on the device that go once through the part; shuffled with a generator.

        Raises LabError for a batch size below 1 and for an image that cannot be read.
        """
        check_batch_size(batch_size)
        count = len(self)
        order = torch.randperm(count, generator=generator) if generator else torch.arange(count)
        return map(self._read, torch.split(order, batch_size))

    def training_batches(self, batch_size: int, generator: torch.Generator) -> Iterator[Batch]:
        """Shuffled batches, as `batches` gives them; a streamed part has no extras."""
        return starmap(Batch, self.batches(batch_size, generator))

    def take(self, n: int) -> StreamedSplit:
        """The first n images, still on disk."""
        return replace(self, subset=Subset(self.subset.images, self.subset.rows[:n]))

    def _read(self, places: Tensor) -> tuple[Tensor, Tensor]:
        batch = Subset(self.subset.images, self.subset.rows[places])
        pixels = batch.read(self.framing)
        return normalized(pixels, self.mean, self.std, self.device), batch.labels.to(self.device)
