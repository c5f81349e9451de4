"""Rules fitted to a network's own answers, one pass of features at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate, pad
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR

from labsupport.core.errors import LabError
from labsupport.data import Split
from labsupport.data.shifts import randomly_shifted
from labsupport.methods.early_exit.rules import Origin, Rules
from labsupport.network.cutting import Place, cut, fingerprint
from labsupport.training import predict
from labsupport.training.loop import seeded


@dataclass(frozen=True)
class RulesRecipe:
    """How rules are fitted: AdamW on a one-cycle rate, weights shared by pool x pool positions.

    `pool` 1 gives every feature a weight of its own. Each batch is moved by up to `shift` pixels.
    Raises LabError for a value out of range.
    """

    epochs: int = 16
    batch_size: int = 256
    lr: float = 2e-3
    weight_decay: float = 0.01
    pool: int = 2
    shift: int = 1

    def __post_init__(self) -> None:
        positive = min(self.epochs, self.batch_size, self.pool) >= 1 and self.lr > 0
        if not positive or min(self.shift, self.weight_decay) < 0:
            remedy = "only shift and weight_decay may be 0, none below"
            raise LabError(f"{self} cannot be followed", remedy)


def fit_rules(
    model: nn.Module,
    layer: Place,
    train: Split,
    recipe: RulesRecipe = RulesRecipe(),
    seed: int = 0,
) -> Rules:
    """Rules on the features after `layer`, fitted to the network's own soft answers on `train`.

    No margin is set yet, so that no rule fires. The features are made anew in every epoch and
    never held; the labels are not looked at. Raises LabError for a layer, pool or shift that does
    not fit, or no image at all.
    """
    stem, rest = cut(model, layer)
    if not len(train):
        raise LabError("there is no image to fit rules to", "give at least one")
    answers = predict(nn.Sequential(stem, rest).eval(), train, batch_size=100).softmax(1)
    with torch.inference_mode():
        shape = tuple(stem(train.x[:1]).shape[1:])
    head = _head(shape, answers.shape[1], recipe.pool, seed).to(train.device)
    # Pooling is many times faster with the channels innermost.
    stem = stem.to(memory_format=torch.channels_last)
    _train(stem, head, Split(train.x, answers), recipe, seed)
    product = head[-1]
    assert isinstance(product, nn.Linear)
    weight = unpooled(product.weight.detach(), shape, recipe.pool)
    return Rules(weight, product.bias, Origin(layer, shape, fingerprint(model)))


def unpooled(weight: Tensor, feature_shape: tuple[int, ...], pool: int) -> Tensor:
    """Weights on mean-pooled maps as weights on the maps themselves, the same linear function.

    The mean of pool x pool values times w is the sum of each value times w / pool^2; rows and
    columns that pooling leaves out get 0. From (classes, C * (H // pool) * (W // pool)) to
    (classes, C * H * W); features that are no maps stay as they are.
    """
    if pool == 1 or len(feature_shape) != 3:
        return weight
    channels, height, width = feature_shape
    small = weight.view(-1, channels, height // pool, width // pool)
    spread = interpolate(small, scale_factor=pool, mode="nearest") / pool**2
    return pad(spread, (0, width % pool, 0, height % pool)).flatten(1)


def _head(shape: tuple[int, ...], classes: int, pool: int, seed: int) -> nn.Sequential:
    with seeded(seed):
        if pool == 1 or len(shape) != 3:
            return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), classes))
        channels, height, width = shape
        if pool > min(height, width):
            raise LabError(f"pooling {pool} x {pool} of {height} x {width} maps", "pool less")
        features = channels * (height // pool) * (width // pool)
        return nn.Sequential(nn.AvgPool2d(pool), nn.Flatten(), nn.Linear(features, classes))


def _train(stem: nn.Module, head: nn.Module, train: Split, recipe: RulesRecipe, seed: int) -> None:
    """Fit the head on moved images; the answer stays the one to the image in its place."""
    steps = recipe.epochs * math.ceil(len(train) / recipe.batch_size)
    optimizer = AdamW(head.parameters(), recipe.lr, weight_decay=recipe.weight_decay, fused=True)
    scheduler = OneCycleLR(optimizer, max_lr=recipe.lr, total_steps=max(steps, 2))
    generator = torch.Generator().manual_seed(seed)
    for _ in range(recipe.epochs):
        for x, answers in train.batches(recipe.batch_size, generator):
            with torch.no_grad():
                features = stem(randomly_shifted(x, recipe.shift, generator))
            loss = cross_entropy(head(features), answers)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            scheduler.step()
