"""The training loop: AdamW, one-cycle or constant rate, the best validation epoch is kept."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR
from tqdm import tqdm

from labsupport.core.errors import LabError
from labsupport.data import Batched, Splits

Batches = Iterable[tuple[Tensor, Tensor]]
SCHEDULES = ("onecycle", "constant")


@dataclass(frozen=True)
class Recipe:
    """All that determines a training run besides network, data and seed.

    `lr` is the peak of the one-cycle schedule (Smith and Topin 2018) or the constant rate.
    The optimizer is AdamW (Loshchilov and Hutter 2019); `weight_decay=0` makes it Adam. The loss
    is cross-entropy with `label_smoothing` (Szegedy et al. 2016, section 7).
    Raises LabError for a value out of range.
    """

    epochs: int = 5
    batch_size: int = 256
    lr: float = 2e-3
    weight_decay: float = 0.01
    schedule: Literal["onecycle", "constant"] = "onecycle"
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 2:
            problem = f"{self.epochs} epochs in batches of {self.batch_size}"
            raise LabError(problem, "train at least one epoch, in batches of two or more")
        if self.lr <= 0 or self.weight_decay < 0:
            problem = f"a learning rate of {self.lr} with weight decay {self.weight_decay}"
            raise LabError(problem, "the rate must be above 0, the decay at least 0")
        if not 0 <= self.label_smoothing < 1:
            raise LabError(f"label smoothing of {self.label_smoothing}", "give 0 to below 1")
        if self.schedule not in SCHEDULES:
            raise LabError(f"no schedule {self.schedule!r}", f"choose one of {SCHEDULES}")


class Step(NamedTuple):
    """The loss that is differentiated; logits (N, classes) and labels (N,) that are reported."""

    loss: Tensor
    logits: Tensor
    labels: Tensor


# What to make of a model, images and what the split holds beside them: labels, or more than that.
Objective = Callable[[nn.Module, Tensor, Tensor], Step]


@dataclass(frozen=True)
class Evaluation:
    """Mean cross-entropy in nats and accuracy in [0, 1]."""

    loss: float
    accuracy: float


@dataclass(frozen=True)
class Trained:
    """A trained network and how it came about.

    `model` is the one of the best validation epoch, in eval mode. `history` has a row per epoch:
    epoch, train_loss, train_accuracy (both running, while the weights still move), val_loss,
    val_accuracy, epoch_seconds. `seconds` is the clocked time of training, validation included.
    """

    model: nn.Module
    history: pd.DataFrame
    seconds: float
    seed: int

    @property
    def best_epoch(self) -> int:
        """The first epoch of the highest validation accuracy, counted from 1."""
        return int(self.history["epoch"].iloc[int(self.history["val_accuracy"].argmax())])

    @property
    def val_accuracy(self) -> float:
        """Validation accuracy of the selected network."""
        return float(self.history["val_accuracy"].max())


def smoothed(label_smoothing: float) -> Objective:
    """The usual objective: cross-entropy in nats with smoothed labels (0: plain labels)."""

    def objective(model: nn.Module, x: Tensor, y: Tensor) -> Step:
        logits = model(x)
        return Step(cross_entropy(logits, y, label_smoothing=label_smoothing), logits, y)

    return objective


PLAIN = smoothed(0.0)


def fit(
    model: nn.Module,
    splits: Splits[Any],
    recipe: Recipe,
    seed: int = 0,
    progress: bool = False,
    objective: Objective | None = None,
) -> Trained:
    """Train a copy of `model` on `splits.train` and keep the best validation epoch.

    The seed determines shuffling and dropout; the caller's random state is left as it was.
    `progress` shows a bar. `objective` replaces cross-entropy with the recipe's label smoothing.
    Raises LabError when the loss is no number any more.
    """
    started = time.perf_counter()
    objective = objective or smoothed(recipe.label_smoothing)
    model = copy.deepcopy(model).to(splits.device)
    optimizer = AdamW(
        model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True
    )
    scheduler = _scheduler(optimizer, recipe, len(splits.train))
    generator = torch.Generator().manual_seed(seed)
    rows: list[dict[str, float]] = []
    best: dict[str, Tensor] = {}
    with seeded(seed), tqdm(total=recipe.epochs, unit="epoch", disable=not progress) as bar:
        for epoch in range(1, recipe.epochs + 1):
            row = _epoch(model, splits, objective, recipe, optimizer, scheduler, generator)
            if all(row["val_accuracy"] > earlier["val_accuracy"] for earlier in rows):
                best = copy.deepcopy(model.state_dict())
            rows.append({"epoch": epoch, **row})
            bar.set_postfix_str(f"validation {row['val_accuracy']:.2%}", refresh=False)
            bar.update()
    model.load_state_dict(best)
    model.zero_grad(set_to_none=True)  # gradients are as large as the weights
    return Trained(model.eval(), pd.DataFrame(rows), time.perf_counter() - started, seed)


def train_epoch(
    model: nn.Module,
    batches: Batches,
    optimizer: Optimizer,
    scheduler: LRScheduler | None = None,
    objective: Objective = PLAIN,
) -> Evaluation:
    """One pass over `batches` in training mode; running loss and accuracy.

    What is reported is the plain cross-entropy of the logits that `objective` gives back. Sums
    stay on the device until the end, so that no step waits for a number. A last batch of a single
    example is left out: batch normalization has no variance of one value.
    """
    model.train()
    loss_sum, correct, seen = torch.zeros(()), torch.zeros(()), 0
    for x, y in batches:
        if len(y) == 1 and seen:
            continue
        loss, logits, labels = objective(model, x, y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if scheduler:
            scheduler.step()
        logits = logits.detach()
        loss_sum = loss_sum + cross_entropy(logits, labels, reduction="sum")
        correct = correct + (logits.argmax(1) == labels).sum()
        seen += len(y)
    return Evaluation(loss_sum.item() / seen, correct.item() / seen)


def predict(model: nn.Module, split: Batched, batch_size: int = 1000) -> Tensor:
    """Logits of shape (N, classes) in eval mode; the model's own mode is restored."""
    return torch.cat([logits for logits, _ in _outputs(model, split, batch_size)])


def evaluate(model: nn.Module, split: Batched, batch_size: int = 1000) -> Evaluation:
    """Mean loss and accuracy over a split in eval mode; the model's own mode is restored."""
    loss_sum, correct = torch.zeros(()), torch.zeros(())
    for logits, y in _outputs(model, split, batch_size):
        loss_sum = loss_sum + cross_entropy(logits, y, reduction="sum")
        correct = correct + (logits.argmax(1) == y).sum()
    return Evaluation(loss_sum.item() / len(split), correct.item() / len(split))


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Run a block from `seed`; torch's random state outside it stays as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


@torch.no_grad()
def _outputs(model: nn.Module, split: Batched, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    was_training = model.training
    model.eval()
    try:
        for x, y in split.batches(batch_size):
            yield model(x), y
    finally:
        model.train(was_training)


def _epoch(
    model: nn.Module,
    splits: Splits[Any],
    objective: Objective,
    recipe: Recipe,
    optimizer: Optimizer,
    scheduler: LRScheduler | None,
    generator: torch.Generator,
) -> dict[str, float]:
    started = time.perf_counter()
    batches = splits.train.batches(recipe.batch_size, generator)
    train = train_epoch(model, batches, optimizer, scheduler, objective)
    if not math.isfinite(train.loss):
        raise LabError("the training loss is no number any more", "lower the learning rate")
    val = evaluate(model, splits.val)
    return {
        "train_loss": train.loss,
        "train_accuracy": train.accuracy,
        "val_loss": val.loss,
        "val_accuracy": val.accuracy,
        "epoch_seconds": time.perf_counter() - started,
    }


def _scheduler(optimizer: Optimizer, recipe: Recipe, examples: int) -> LRScheduler | None:
    if recipe.schedule == "constant":
        return None
    steps = recipe.epochs * math.ceil(examples / recipe.batch_size)
    return OneCycleLR(optimizer, max_lr=recipe.lr, total_steps=max(steps, 2), pct_start=0.3)
