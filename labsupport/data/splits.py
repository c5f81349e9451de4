"""Train, validation and test parts: normalization, and batches without a loader."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, Protocol

import torch
from torch import Tensor
from typing_extensions import TypeVar

from labsupport.core.errors import LabError
from labsupport.data.images import Shape

Batches = Iterator[tuple[Tensor, Tensor]]


class Batch(NamedTuple):
    """Images `x` (n, C, H, W), labels `y` (n,), and what else is known of each image, by name."""

    x: Tensor
    y: Tensor
    extras: Mapping[str, Tensor] = {}


@dataclass(frozen=True, eq=False)
class Split:
    """One part of a set, whole on the device.

    `x` is float32 (N, C, H, W), normalized; `y` is int64 (N,). `extras` are further tensors with a
    row per image, such as a teacher's logits (N, classes), by name.
    Raises LabError for extras of another length.
    """

    x: Tensor
    y: Tensor
    extras: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, extra in self.extras.items():
            if len(extra) != len(self.x):
                problem = f"{len(extra)} rows of {name!r} for {len(self.x)} images"
                raise LabError(problem, "give one row per image")

    def __len__(self) -> int:
        return len(self.y)

    @property
    def image_shape(self) -> Shape:
        """(C, H, W)."""
        channels, height, width = self.x.shape[1:]
        return channels, height, width

    @property
    def device(self) -> torch.device:
        """Where the tensors lie."""
        return self.x.device

    def batches(self, batch_size: int, generator: torch.Generator | None = None) -> Batches:
        """Pairs (x, y) that go once through the part; the last one may be smaller.

        Shuffled when a generator is given; views in the stored order, not copies, without one.
        Raises LabError for a batch size below 1.
        """
        check_batch_size(batch_size)
        if generator is None:
            parts = (torch.split(tensor, batch_size) for tensor in (self.x, self.y))
            return zip(*parts, strict=True)
        return ((x, y) for x, y, _ in self.training_batches(batch_size, generator))

    def training_batches(self, batch_size: int, generator: torch.Generator) -> Iterator[Batch]:
        """Shuffled batches with the extras of their images.

        Raises LabError for a batch size below 1.
        """
        check_batch_size(batch_size)
        order = torch.randperm(len(self), generator=generator, device=generator.device)
        parts = map(self.select, torch.split(order.to(self.device), batch_size))
        return (Batch(part.x, part.y, part.extras) for part in parts)

    def select(self, rows: Tensor) -> Split:
        """The images of some rows, int64 (n,), in that order, as a copy."""
        return self._each(lambda tensor: tensor.index_select(0, rows))

    def take(self, n: int) -> Split:
        """The first n images, as a view."""
        return self._each(lambda tensor: tensor[:n])

    def _each(self, change: Callable[[Tensor], Tensor]) -> Split:
        extras = {name: change(extra) for name, extra in self.extras.items()}
        return Split(change(self.x), change(self.y), extras)


class Batched(Protocol):
    """What every part of a set can do, held in memory or streamed."""

    def __len__(self) -> int: ...

    @property
    def image_shape(self) -> Shape:
        """(C, H, W)."""

    @property
    def device(self) -> torch.device:
        """Where batches arrive."""

    def batches(self, batch_size: int, generator: torch.Generator | None = None) -> Batches:
        """Pairs (x, y) that go once through the part."""

    def training_batches(self, batch_size: int, generator: torch.Generator) -> Iterator[Batch]:
        """Shuffled batches with the extras of their images."""


Part = TypeVar("Part", bound=Batched, default=Split)


@dataclass(frozen=True, eq=False)
class Splits(Generic[Part]):
    """A set in three parts, normalized with the training part's mean and standard deviation.

    `mean` and `std` are per channel, for pixels in [0, 1]. `fingerprint` is the same exactly when
    the pixels, the labels and their order are, in all three parts.
    """

    name: str
    train: Part
    val: Part
    test: Part
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fingerprint: str

    @property
    def input_shape(self) -> Shape:
        """(C, H, W)."""
        return self.train.image_shape

    @property
    def device(self) -> torch.device:
        """Where batches arrive."""
        return self.train.device

    def denormalize(self, x: Tensor) -> Tensor:
        """Normalized images (..., C, H, W) as pixels in [0, 1]."""
        mean, std = (x.new_tensor(values).view(-1, 1, 1) for values in (self.mean, self.std))
        return (x * std + mean).clamp(0, 1)


def check_batch_size(batch_size: int) -> None:
    """Raises LabError for a batch size below 1."""
    if batch_size < 1:
        raise LabError(f"the batch size is {batch_size}", "choose 1 or more")


def statistics(pixels: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel of uint8 images (N, C, H, W), for pixels in [0, 1].

    Taken from the histogram, hence exact and the same for any number of threads. A channel
    without spread has the standard deviation 1, so that it can be divided by.
    """
    levels = torch.arange(256, dtype=torch.float64) / 255
    means, stds = [], []
    for channel in pixels.unbind(1):
        share = torch.bincount(channel.reshape(-1), minlength=256).double() / channel.numel()
        mean = float(share @ levels)
        means.append(mean)
        stds.append(float(share @ (levels - mean) ** 2) ** 0.5 or 1.0)
    return tuple(means), tuple(stds)


def normalized(
    pixels: Tensor,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    device: torch.device,
) -> Tensor:
    """uint8 images (N, C, H, W) as float32 on the device, less the mean, over the deviation."""
    x = pixels.to(device).float()
    shift, scale = (x.new_tensor(values).view(-1, 1, 1) * 255 for values in (mean, std))
    return x.sub_(shift).div_(scale)
