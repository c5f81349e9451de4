"""What an epoch of training costs beyond its arithmetic, against the usual loader."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import DataLoader, Dataset

from labsupport.core.errors import LabError
from labsupport.data import Splits
from labsupport.measure.clocking import Clocking
from labsupport.measure.latency import clock_calls
from labsupport.training import evaluate, train_epoch

OURS = "our training epoch"
WITH_VALIDATION = "with validation"
BARE = "bare compute"
LOADER = "torchvision loader"


class Pictures(Dataset[tuple[Tensor, int]]):
    """Images as torchvision's sets give them: a PIL picture at a time, then its transforms."""

    def __init__(self, splits: Splits, images: int) -> None:
        from torchvision import transforms  # here, because it takes seconds

        part = splits.train.take(images)
        pixels = (splits.denormalize(part.x) * 255).round().byte().cpu().permute(0, 2, 3, 1)
        self.pixels = pixels.squeeze(-1).numpy()
        self.labels = part.y.tolist()
        self.transform = transforms.Compose(
            [transforms.ToTensor(), transforms.Normalize(splits.mean, splits.std)]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        from PIL import Image

        return self.transform(Image.fromarray(np.asarray(self.pixels[index]))), self.labels[index]


def bare_steps(model: nn.Module, optimizer: Optimizer, x: Tensor, y: Tensor, steps: int) -> None:
    """So many training steps on one batch: forward, loss, backward, update, nothing else."""
    model.train()
    for _ in range(steps):
        loss = cross_entropy(model(x), y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def loader_epoch(
    model: nn.Module, optimizer: Optimizer, loader: DataLoader[tuple[Tensor, int]]
) -> float:
    """An epoch as tutorials write it, its mean loss fetched with `item()` at every step."""
    device = next(model.parameters()).device
    model.train()
    total = 0.0
    for x, y in loader:
        x, y = x.to(device), y.to(device)
        loss = cross_entropy(model(x), y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        total += loss.item()
    return total / len(loader)


def epochs(
    model: nn.Module, splits: Splits, batch_size: int, images: int
) -> dict[str, Callable[[], object]]:
    """Four ways to spend an epoch on the same images, network and optimizer, to be clocked.

    Ours (shuffling, gathering, bookkeeping and scheduler as in `fit`), ours with the validation
    that `fit` adds (its share, when not all images train), the same number of steps on one
    batch, and torchvision's loader. Only whole batches take part, so that all do the same steps.
    They train a copy of `model`. Raises LabError for fewer training images than one batch.
    """
    images = whole_batches(splits, batch_size, images)
    train, steps = splits.train.take(images), images // batch_size
    val = splits.val.take(max(1, len(splits.val) * images // len(splits.train)))
    x, y = train.take(batch_size).x, train.take(batch_size).y
    model = copy.deepcopy(model)
    optimizer = AdamW(model.parameters(), lr=1e-3, fused=True)
    # Long enough for any number of clocked epochs; its rate hardly moves.
    scheduler = OneCycleLR(optimizer, max_lr=1e-3, total_steps=10**7)
    generator = torch.Generator().manual_seed(0)
    loader = DataLoader(Pictures(splits, images), batch_size, shuffle=True)

    def ours() -> None:
        train_epoch(model, train.batches(batch_size, generator), optimizer, scheduler)

    def with_validation() -> None:
        ours()
        evaluate(model, val)

    return {
        OURS: ours,
        WITH_VALIDATION: with_validation,
        BARE: lambda: bare_steps(model, optimizer, x, y, steps),
        LOADER: lambda: loader_epoch(model, optimizer, loader),
    }


def clock_epochs(
    model: nn.Module,
    splits: Splits,
    *,
    batch_size: int = 64,
    images: int = 1280,
    rounds: int = 5,
    threads: int = 1,
) -> Clocking:
    """Clock the four epochs against each other, each once a round."""
    return clock_calls(
        epochs(model, splits, batch_size, images),
        batch=whole_batches(splits, batch_size, images),
        rounds=rounds,
        repeats=1,
        warmup=1,
        threads=threads,
        device=splits.device,
    )


def whole_batches(splits: Splits, batch_size: int, images: int) -> int:
    """The most training images, `images` at most, that fill whole batches.

    Raises LabError when they do not fill one.
    """
    whole = min(images, len(splits.train)) // batch_size * batch_size
    if whole < 1:
        raise LabError(f"{images} images are less than a batch of {batch_size}", "take more")
    return whole
