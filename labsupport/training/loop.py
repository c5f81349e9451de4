"""The training loop: any recipe and objective; the best validation epoch is kept."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from tqdm import tqdm

from labsupport.core.errors import LabError
from labsupport.core.randomness import seeded
from labsupport.data import Batch, Batched, Splits
from labsupport.network.modes import evaluating
from labsupport.training.evaluation import Evaluation, evaluate
from labsupport.training.objectives import CrossEntropy, Objective
from labsupport.training.optimizers import Grouping, one_group, trainable
from labsupport.training.recipe import Recipe

PLAIN = CrossEntropy()
Batches = Iterable[Batch | tuple[Tensor, Tensor]]  # a pair is a batch without extras
AfterStep = Callable[[nn.Module, int], None]
Score = Callable[[nn.Module, Any], float]


@dataclass(frozen=True)
class Trained:
    """A trained network and how it came about.

    `model` has the weights of the kept epoch, in eval mode. `history` has a row per epoch: epoch,
    train_loss, train_accuracy (both running, while the weights still move), val_loss, val_accuracy,
    score (where one was given), epoch_seconds, and kept, true in the row of the kept epoch.
    `seconds` is the clocked time of training, validation included.
    """

    model: nn.Module
    history: pd.DataFrame
    seconds: float
    seed: int

    @property
    def best_epoch(self) -> int:
        """The epoch whose weights `model` has, counted from 1; the last where a recipe keeps it."""
        return int(self._kept("epoch"))

    @property
    def val_accuracy(self) -> float:
        """Validation accuracy of `model`; NaN where there were no validation images."""
        return self._kept("val_accuracy") if "val_accuracy" in self.history else math.nan

    def _kept(self, column: str) -> float:
        return float(self.history.loc[self.history["kept"], column].item())


def fit(
    model: nn.Module,
    splits: Splits[Any],
    recipe: Recipe,
    seed: int = 0,
    *,
    objective: Objective | None = None,
    groups: Grouping | None = None,
    after_step: AfterStep | None = None,
    score: Score | None = None,
    progress: bool = False,
) -> Trained:
    """Train a copy of `model` on `splits.train`, and keep the first epoch of the best score.

    The seed determines shuffling, augmentation and dropout; the caller's random state is left as
    it was. `objective` replaces cross-entropy with the recipe's label smoothing. `groups` gives
    parameter groups with a rate or weight decay of their own; frozen parameters take no part.
    `after_step(model, step)` is called without gradients after every optimizer step, counted
    from 1. `score(model, splits.val)` says how good an epoch is, validation accuracy by default;
    a recipe may keep the last epoch instead; NaN is the worst score. `progress` shows a bar. For
    modules to be left in eval mode see `train_epoch`. Raises LabError when a loss, the objective's
    or the one reported, becomes NaN or infinite.
    """
    started = time.perf_counter()
    _check_parts(splits, recipe)
    model = copy.deepcopy(model).to(splits.device).to(memory_format=recipe.memory_format)
    parameters = trainable((groups or one_group)(model))
    optimizer = recipe.optimizer(parameters, recipe.lr, recipe.weight_decay)
    scheduler = recipe.schedule(optimizer, recipe.steps(len(splits.train)))
    objective = objective or CrossEntropy(recipe.label_smoothing)
    generator = torch.Generator().manual_seed(seed)
    _call_after_steps(optimizer, model, after_step)
    rows: list[dict[str, float]] = []
    kept: dict[str, Tensor] = {}
    with seeded(seed), tqdm(total=recipe.epochs, unit="epoch", disable=not progress) as bar:
        for epoch in range(1, recipe.epochs + 1):
            begun = time.perf_counter()
            drawn = splits.train.training_batches(recipe.batch_size, generator)
            batches = (recipe.prepare(batch, generator) for batch in drawn)
            train = train_epoch(model, batches, optimizer, scheduler, objective)
            row = {"epoch": epoch, "train_loss": train.loss, "train_accuracy": train.accuracy}
            row |= _validate(model, splits.val, score)
            rows.append(row | {"epoch_seconds": time.perf_counter() - begun})
            if recipe.keep == "last" or _is_best(rows):
                kept, kept_epoch = _cloned(model.state_dict()), epoch
            bar.set_postfix(row, refresh=False)
            bar.update()
    model.load_state_dict(kept)
    model.zero_grad(set_to_none=True)  # gradients are as large as the weights
    if recipe.channels_last:
        model.to(memory_format=torch.contiguous_format)
    history = pd.DataFrame(rows).assign(kept=lambda table: table["epoch"] == kept_epoch)
    return Trained(model.eval(), history, time.perf_counter() - started, seed)


def _cloned(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    # Not deepcopy, which has no way to copy sparse matrices.
    return {name: tensor.clone() for name, tensor in state.items()}


def train_epoch(
    model: nn.Module,
    batches: Batches,
    optimizer: Optimizer,
    scheduler: LRScheduler | None = None,
    objective: Objective = PLAIN,
) -> Evaluation:
    """One pass over `batches` in training mode; running loss and accuracy.

    A network in eval mode is put into training mode with all its modules. In one that is in
    training mode already, the modules in eval mode stay so: to freeze a batch norm, call
    `model.train()`, then `eval()` on the module.

    What is reported is the plain cross-entropy of the logits that `objective` gives back. Sums
    stay on the device until the end, so that no step waits for a number. A last batch of a single
    example is left out: batch normalization has no variance of one value. Raises LabError when a
    loss, the objective's or the one reported, becomes NaN or infinite.
    """
    if not model.training:
        model.train()
    loss_sum, correct, descended, seen = *torch.zeros(3), 0
    for batch in batches:
        batch = Batch(*batch)
        if len(batch.y) == 1 and seen:
            continue
        loss, logits, labels = objective(model, batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if scheduler:
            scheduler.step()
        logits = logits.detach()
        descended = descended + loss.detach()
        loss_sum = loss_sum + cross_entropy(logits, labels, reduction="sum")
        correct = correct + (logits.argmax(1) == labels).sum()
        seen += len(labels)
    for total in (descended.item(), loss_sum.item()):
        _check_loss(total)
    return Evaluation(loss_sum.item() / seen, correct.item() / seen)


def _call_after_steps(optimizer: Optimizer, model: nn.Module, hook: AfterStep | None) -> None:
    if hook is None:
        return
    steps = count(1)

    @torch.no_grad()
    def call(*_: object) -> None:
        hook(model, next(steps))

    optimizer.register_step_post_hook(call)


def _validate(model: nn.Module, part: Batched, score: Score | None) -> dict[str, float]:
    if not len(part):
        return {}
    val = evaluate(model, part)
    row = {"val_loss": val.loss, "val_accuracy": val.accuracy}
    if score:
        with evaluating(model), torch.no_grad():
            row["score"] = float(score(model, part))
    return row


def _is_best(rows: list[dict[str, float]]) -> bool:
    scores = [row.get("score", row["val_accuracy"]) for row in rows]
    last, *earlier = (-math.inf if math.isnan(score) else score for score in reversed(scores))
    return all(last > score for score in earlier)


def _check_parts(splits: Splits[Any], recipe: Recipe) -> None:
    if not len(splits.train):
        raise LabError("there are no training images", "give at least one")
    if not len(splits.val) and recipe.keep == "best":
        problem = "there are no validation images to choose an epoch by"
        raise LabError(problem, 'give some, or keep the last epoch: Recipe(..., keep="last")')


def _check_loss(loss: float) -> None:
    if not math.isfinite(loss):
        became = "NaN" if math.isnan(loss) else "infinite"
        raise LabError(f"the training loss became {became}", "lower the learning rate")
