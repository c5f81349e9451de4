import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from labsupport.core.errors import LabError
from labsupport.data import Batch, Split
from labsupport.training import AdamW, Constant, Crop, OneCycle, Recipe, train_epoch


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"batch_size": 1},
        {"lr": 0},
        {"lr": math.nan},
        {"lr": math.inf},
        {"weight_decay": -1},
        {"weight_decay": math.nan},
        {"schedule": "onecycle"},
        {"optimizer": "adam"},
        {"augmentation": (None,)},
        {"label_smoothing": 1},
        {"keep": "first"},
    ],
)
def test_a_recipe_out_of_range_is_explained(wrong):
    with pytest.raises(LabError):
        Recipe(**wrong)


def test_recipes_are_equal_exactly_when_their_ingredients_are():
    assert Recipe() == Recipe(optimizer=AdamW(), schedule=OneCycle())
    assert Recipe() != Recipe(schedule=Constant())
    assert Recipe() != Recipe(optimizer=AdamW((0.8, 0.999)))
    assert len({Recipe(), Recipe(), Recipe(augmentation=(Crop(1),))}) == 2


@given(st.integers(1, 60), st.integers(2, 20), st.integers(1, 3))
def test_steps_are_those_that_training_makes(examples, batch_size, epochs):
    made = 0

    class Counting(torch.optim.SGD):
        def step(self):
            nonlocal made
            made += 1

    model = torch.nn.Linear(1, 2)
    split = Split(torch.zeros(examples, 1), torch.zeros(examples, dtype=torch.int64))
    for _ in range(epochs):
        train_epoch(model, split.batches(batch_size), Counting(model.parameters(), 0.1))
    assert Recipe(epochs, batch_size).steps(examples) == made


def test_augmentations_follow_each_other():
    recipe = Recipe(augmentation=(lambda x, _: x + 1, lambda x, _: 2 * x))
    batch = Batch(torch.ones(2, 1, 3, 3), torch.tensor([0, 1]), {"hints": torch.zeros(2)})
    after = recipe.prepare(batch, torch.Generator())
    assert torch.equal(after.x, torch.full((2, 1, 3, 3), 4.0))
    assert after.y is batch.y
    assert after.extras is batch.extras


def test_a_plain_recipe_copies_no_batch():
    batch = Batch(torch.ones(2, 1, 3, 3), torch.tensor([0, 1]))
    assert Recipe().prepare(batch, torch.Generator()).x is batch.x
