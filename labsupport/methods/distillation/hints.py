"""FitNets: a student first learns what a teacher's layer gives, then what the teacher answers.

Romero et al. 2015, "FitNets: hints for thin deep nets", sections 2.2 and 2.3 (algorithm 1).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from labsupport.core.errors import LabError
from labsupport.core.randomness import seeded
from labsupport.data import Batch, Batched, Splits
from labsupport.methods.distillation.soft_targets import SoftTargets, with_teacher
from labsupport.network.calls import example
from labsupport.network.cutting import cut
from labsupport.network.features import features_and_logits
from labsupport.network.modes import evaluating
from labsupport.training import Objective, Recipe, Step, Trained, fit


class Guided(nn.Module):
    """A student, and a regressor from what its layer gives to what the teacher's layer gives."""

    def __init__(self, student: nn.Module, layer: str, regressor: nn.Module) -> None:
        super().__init__()
        self.student, self.layer, self.regressor = student, layer, regressor

    def forward(self, x: Tensor) -> Tensor:
        """The student's logits (N, classes)."""
        logits: Tensor = self.student(x)
        return logits

    def guess(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What the regressor makes of the layer's features, and the student's logits."""
        features, logits = features_and_logits(self.student, self.layer, x)
        return self.regressor(features), logits


@dataclass(frozen=True, eq=False)
class Hints:
    """What `fit` descends for a Guided student: half the mean square of guess less hint.

    Romero et al. 2015, equation 3, as a mean over features, so that their number does not set the
    rate. `stem` is the teacher up to its hint layer; it sees the same images, changed at random as
    they are. The student behind its layer gets no gradient.
    """

    stem: nn.Module

    def __call__(self, model: nn.Module, batch: Batch) -> Step:
        """The loss of a batch."""
        guess, logits = _guided(model).guess(batch.x)
        return Step(self._loss(guess, batch.x), logits, batch.y)

    def score(self, model: nn.Module, part: Batched) -> float:
        """The mean loss on a part, negative, by which the best epoch is kept."""
        guided = _guided(model)
        losses = [len(x) * self._loss(guided.guess(x)[0], x) for x, _ in part.batches(1000)]
        return -torch.stack(losses).sum().item() / len(part)

    def _loss(self, guess: Tensor, x: Tensor) -> Tensor:
        with evaluating(self.stem), torch.no_grad():
            hint = self.stem(x)
        return mse_loss(guess, hint) / 2


def regressor(guided: Sequence[int], hint: Sequence[int]) -> nn.Module:
    """A linear map from features of one shape (without the batch) to those of another.

    An unpadded convolution of maps, whose kernel takes them to the size of the hint's (Romero et
    al. 2015, section 2.2), a linear layer of features in a row. Raises LabError for maps that are
    smaller than the hint's, and for maps and features in a row.
    """
    if len(guided) == len(hint) == 1:
        return nn.Linear(guided[0], hint[0])
    sides = [side - wanted + 1 for side, wanted in zip(guided[1:], hint[1:], strict=False)]
    if len(guided) == len(hint) == 3 and min(sides) >= 1:
        return nn.Conv2d(guided[0], hint[0], (sides[0], sides[1]))
    shapes = ("x".join(map(str, shape)) for shape in (guided, hint))
    problem = "features of {} cannot learn a hint of {}".format(*shapes)
    raise LabError(problem, "choose layers of equal rank, the student's maps at least as large")


def learn_hint(
    student: nn.Module,
    teacher: nn.Module,
    splits: Splits,
    recipe: Recipe,
    *,
    guided: str,
    hint: str,
    seed: int = 0,
) -> nn.Module:
    """The student, trained up to its layer `guided` to give what the teacher's layer `hint` gives.

    The first stage of a FitNet. The regressor between the two layers, drawn from `seed`, is trained
    too and let go; the weights behind the layer stay as they were. The epoch of the least
    validation loss is kept. Raises LabError for a layer that does not exist or does not fit.
    """
    stem = cut(teacher, hint)[0].to(splits.device).requires_grad_(False)
    with seeded(seed), torch.no_grad():
        copied = copy.deepcopy(student).eval()
        features, _ = features_and_logits(copied, guided, example(copied, splits.input_shape))
        wanted = stem(example(stem, splits.input_shape).to(splits.device))
        between = regressor(features.shape[1:], wanted.shape[1:])
    hints = Hints(stem)
    model = Guided(student, guided, between)
    trained = fit(model, splits, recipe, seed, objective=hints, score=hints.score).model
    return _guided(trained).student


def fit_net(
    student: nn.Module,
    teacher: nn.Module,
    splits: Splits,
    recipes: tuple[Recipe, Recipe],
    *,
    guided: str,
    hint: str,
    objective: Objective | None = None,
    seed: int = 0,
) -> Trained:
    """Both stages of a FitNet, each by its recipe: `learn_hint`, then the teacher's answers.

    `objective` replaces the usual SoftTargets of the second stage.
    Raises LabError as `learn_hint` does, and for a teacher of other classes.
    """
    first, second = recipes
    _check_classes(student, teacher, splits)
    begun = learn_hint(student, teacher, splits, first, guided=guided, hint=hint, seed=seed)
    taught = replace(splits, train=with_teacher(splits.train, teacher))
    return fit(begun, taught, second, seed, objective=objective or SoftTargets())


def _check_classes(student: nn.Module, teacher: nn.Module, splits: Splits) -> None:
    """By the objective itself, on one image, before anything is trained."""
    one = with_teacher(splits.train.take(1), teacher)
    copied = copy.deepcopy(student).to(splits.device).eval()
    SoftTargets()(copied, Batch(one.x, one.y, one.extras))


def _guided(model: nn.Module) -> Guided:
    if not isinstance(model, Guided):
        problem = f"a {type(model).__name__} has no layer that learns a hint"
        raise LabError(problem, "train Guided(student, layer, regressor), or call learn_hint")
    return model
