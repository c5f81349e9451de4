import pytest
import torch
from made_nets import images
from torch import nn

from labsupport.core.errors import LabError
from labsupport.data import Split, Splits
from labsupport.models import build, whitened
from labsupport.training import (
    FasterBiases,
    Flip,
    Muon,
    Recipe,
    Shift,
    Triangular,
    fast_recipe,
    fit,
)


@pytest.fixture(scope="module")
def colored():
    """Three classes of 12 x 12 images, each of one color among noise."""
    y = torch.arange(90) % 3
    x = images((3, 12, 12), 90).float()
    x = x + 1.5 * torch.eye(3)[y][:, :, None, None]
    part = Split(x, y)
    return Splits("colored", part, part, part, ("r", "g", "b"), (0.0,) * 3, (1.0,) * 3, "colored")


def test_shifts_of_norms_have_a_rate_of_their_own():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.BatchNorm2d(2, affine=False))
    others, shifts = FasterBiases(Recipe(lr=0.1, weight_decay=0.2), times=4)(model)
    assert [id(p) for p in shifts["params"]] == [id(model[1].bias)]
    assert len(others["params"]) == 3
    assert (shifts["lr"], shifts["weight_decay"]) == (pytest.approx(0.4), 0.05)


@pytest.mark.parametrize("times", [0, -1, float("inf")])
def test_shifts_that_do_not_learn_are_refused(times):
    with pytest.raises(LabError, match=f"learn {times} times as fast"):
        FasterBiases(Recipe(), times=times)


def test_the_recipe_is_that_of_its_source():
    recipe = fast_recipe(batch_size=1024)
    # There the rate of a sum over 1,024 images is 11.5 / (1 + 1 / (1 - .85)), its decay .0153.
    assert recipe.lr == pytest.approx(11.5 / (1 + 1 / (1 - 0.85)), rel=0.05)
    assert recipe.weight_decay == pytest.approx(0.0153 / 11.5, rel=0.05)
    assert recipe.label_smoothing == 0.2
    assert recipe.augmentation == (Flip(), Shift(2))
    assert (recipe.optimizer, recipe.schedule) == (Muon(), Triangular())
    assert FasterBiases(recipe).times == 64


def test_the_rate_grows_with_the_batch():
    small, large = fast_recipe(batch_size=256), fast_recipe(batch_size=1024)
    assert large.lr == 4 * small.lr
    assert large.weight_decay == small.weight_decay


def test_a_whitened_network_learns_in_a_few_steps_and_keeps_its_frozen_patches(colored):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = whitened(build("airbench", (3, 12, 12), 3, width=8), "0", colored.train.x)
    model[0].weight.requires_grad_(False)
    recipe = fast_recipe(epochs=30, batch_size=30)
    trained = fit(model, colored, recipe, groups=FasterBiases(recipe))
    assert torch.equal(trained.model[0].weight, model[0].weight)
    assert trained.val_accuracy > 0.9
