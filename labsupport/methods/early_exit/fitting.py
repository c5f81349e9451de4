"""Rules fitted to a network's own answers, one pass of features at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

from labsupport.core.errors import LabError
from labsupport.core.randomness import seeded
from labsupport.data import Split, Splits
from labsupport.methods.early_exit.heads import FirstMaps
from labsupport.methods.early_exit.rules import Origin, Rules
from labsupport.network.cutting import cut
from labsupport.network.fingerprint import fingerprint
from labsupport.network.places import Place
from labsupport.training import Recipe, Shift, SoftCrossEntropy, fit, predict

ANSWERS = "answers"  # the network's class shares, beside each image


@dataclass(frozen=True)
class RulesRecipe:
    """How rules are fitted: AdamW on a one-cycle rate, weights shared by pool x pool positions.

    `pool` 1 gives every feature a weight of its own. The rules look at the first `maps` feature
    maps, at all with None. Each image is moved by up to `shift` pixels.
    Raises LabError for a value out of range.
    """

    epochs: int = 16
    batch_size: int = 256
    lr: float = 2e-3
    weight_decay: float = 0.01
    pool: int = 2
    shift: int = 1
    maps: int | None = None

    def __post_init__(self) -> None:
        if self.pool < 1:
            raise LabError(f"pooling {self.pool} x {self.pool} maps", "pool 1 or more")
        if self.maps is not None and self.maps < 1:
            raise LabError(f"rules on {self.maps} maps", "let them look at 1 or more")
        self.training()

    def training(self) -> Recipe:
        """The recipe of the training, whose last epoch is kept: no image is left to choose by."""
        return Recipe(
            self.epochs,
            self.batch_size,
            self.lr,
            self.weight_decay,
            augmentation=(Shift(self.shift),),
            channels_last=True,  # in which pooling is many times faster
            keep="last",
        )


def fit_rules(
    model: nn.Module,
    layer: Place,
    train: Split,
    recipe: RulesRecipe = RulesRecipe(),
    seed: int = 0,
) -> Rules:
    """Rules on the features after `layer`, fitted to the network's own soft answers on `train`.

    No margin is set yet, so that no rule fires. The features are made anew in every epoch and
    never held; the answer to a moved image stays the one to the image in its place; the labels are
    not looked at. Raises LabError for a layer, pool or shift that does not fit, or no image at all.
    """
    stem, rest = cut(model, layer)
    if not len(train):
        raise LabError("there is no image to fit rules to", "give at least one")
    answers = predict(nn.Sequential(stem, rest), train, batch_size=100).softmax(1)
    with torch.inference_mode():
        shape = tuple(stem(train.x[:1]).shape[1:])
    seen = (min(recipe.maps or shape[0], shape[0]), *shape[1:])
    head = _head(seen, answers.shape[1], recipe.pool, seed)
    scoring = nn.Sequential(stem.requires_grad_(False), head)
    images = _training_only(replace(train, extras={ANSWERS: answers}))
    trained = fit(scoring, images, recipe.training(), seed, objective=SoftCrossEntropy(ANSWERS))
    product = list(trained.model.modules())[-1]
    assert isinstance(product, nn.Linear)
    weight = unpooled(product.weight.detach(), seen, recipe.pool)
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
    first = FirstMaps(shape[0])  # behind the pooling, which is slow on a part of the maps
    with seeded(seed):
        if pool == 1 or len(shape) != 3:
            return nn.Sequential(first, nn.Flatten(), nn.Linear(math.prod(shape), classes))
        channels, height, width = shape
        if pool > min(height, width):
            raise LabError(f"pooling {pool} x {pool} of {height} x {width} maps", "pool less")
        product = nn.Linear(channels * (height // pool) * (width // pool), classes)
        return nn.Sequential(nn.AvgPool2d(pool), first, nn.Flatten(), product)


def _training_only(train: Split) -> Splits:
    none = train.take(0)
    return Splits("rules", train, none, none, (), (), (), "")
