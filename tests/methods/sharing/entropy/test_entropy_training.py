"""Training with the rate, on real digits: far fewer bytes at about the same accuracy."""

import pytest

from labsupport.core.randomness import seeded
from labsupport.data import load
from labsupport.methods.sharing import entropy
from labsupport.models import build
from labsupport.training import Recipe, StepGroups, evaluate, fit

BRIEF = Recipe(epochs=3, batch_size=128, lr=2e-3, weight_decay=0, keep="last")


@pytest.mark.slow
def test_a_short_training_makes_a_fraction_of_the_bytes(tmp_path):
    splits = load("mnist5k")
    with seeded(0):
        plain = fit(build("lenet_300_100", (1, 28, 28)), splits, BRIEF).model
    net = entropy.with_steps(plain, 5)
    before = entropy.encode(net, tmp_path / "before")
    rated = entropy.RateDistortion(1.0)
    trained = fit(net, splits, BRIEF, objective=rated, groups=StepGroups(2e-3)).model
    after = entropy.encode(trained, tmp_path / "after")
    assert after.sum() < before.sum() / 2
    assert evaluate(trained, splits.val).accuracy > evaluate(plain, splits.val).accuracy - 0.03
    read = entropy.decode(tmp_path / "after", plain)
    assert evaluate(read, splits.val) == evaluate(trained, splits.val)
