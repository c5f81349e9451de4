import copy

import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from labsupport.core.errors import LabError
from labsupport.data import Split, Splits
from labsupport.training import Recipe, evaluate, fit, predict, smoothed, train_epoch

RECIPE = Recipe(epochs=4, batch_size=16, lr=0.02)


def made(n, seed):
    """Two Gaussian classes that a line tells apart nearly always."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 2
    x = torch.randn(n, 1, 2, 2, generator=generator) + 2 * y.view(-1, 1, 1, 1)
    return Split(x, y)


@pytest.fixture(scope="module")
def splits():
    return Splits("made", made(96, 0), made(33, 1), made(40, 2), ("a", "b"), (0.0,), (1.0,), "f")


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.Dropout(0.2), nn.ReLU(), nn.Linear(8, 2))


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.values(), b.values(), strict=True))


def test_it_learns_and_leaves_its_input_alone(model, splits):
    before = copy.deepcopy(model.state_dict())
    result = fit(model, splits, RECIPE)
    assert same(before, model.state_dict())
    assert evaluate(result.model, splits.test).accuracy > 0.9
    assert not result.model.training
    assert all(parameter.grad is None for parameter in result.model.parameters())


def test_the_same_seed_gives_the_same_network_and_another_seed_another(model, splits):
    first, second, third = (fit(model, splits, RECIPE, seed) for seed in (1, 1, 2))
    assert same(first.model.state_dict(), second.model.state_dict())
    assert not same(first.model.state_dict(), third.model.state_dict())
    clocked = ["epoch_seconds"]
    pd.testing.assert_frame_equal(
        first.history.drop(columns=clocked), second.history.drop(columns=clocked)
    )


def test_the_callers_random_state_stays_as_it_was(model, splits):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    fit(model, splits, RECIPE, seed=9)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("seed", range(5))
def test_the_selected_network_is_the_first_of_best_validation_accuracy(model, splits, seed):
    result = fit(model, splits, Recipe(6, 16, 0.3, schedule="constant"), seed)
    accuracies = result.history["val_accuracy"].tolist()
    assert result.val_accuracy == max(accuracies)
    assert result.best_epoch == accuracies.index(max(accuracies)) + 1
    assert evaluate(result.model, splits.val).accuracy == pytest.approx(max(accuracies))


def test_one_epoch_of_plain_steps_is_what_fit_does(model, splits):
    recipe = Recipe(1, 32, 0.01, schedule="constant")
    model[2].p = 0.0
    by_hand = copy.deepcopy(model)
    optimizer = torch.optim.AdamW(by_hand.parameters(), lr=0.01, weight_decay=0.01)
    for x, y in splits.train.batches(32, torch.Generator().manual_seed(3)):
        optimizer.zero_grad()
        cross_entropy(by_hand(x), y).backward()
        optimizer.step()
    ours = fit(model, splits, recipe, seed=3).model
    for a, b in zip(ours.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_smoothed_labels_are_trained_on_and_plain_losses_reported(model, splits):
    model[2].p = 0.0
    by_hand = copy.deepcopy(model)
    batches = [splits.train.batches(96).__next__()]
    plain = cross_entropy(model(batches[0][0]), batches[0][1]).item()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    reported = train_epoch(model, batches, optimizer, objective=smoothed(0.2))
    assert reported.loss == pytest.approx(plain)
    target = torch.nn.functional.one_hot(batches[0][1], 2) * 0.8 + 0.2 / 2
    cross_entropy(by_hand(batches[0][0]), target).backward()
    for ours, theirs in zip(model.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs - 0.1 * theirs.grad)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_default_objective_is_the_recipes_cross_entropy_to_the_bit(model, splits, smoothing):
    def objective(network, x, y):
        logits = network(x)
        return cross_entropy(logits, y, label_smoothing=smoothing), logits, y

    recipe = Recipe(2, 16, 0.02, label_smoothing=smoothing)
    default, explicit = fit(model, splits, recipe), fit(model, splits, recipe, objective=objective)
    assert same(default.model.state_dict(), explicit.model.state_dict())
    columns = ["train_loss", "train_accuracy", "val_loss", "val_accuracy"]
    assert default.history[columns].equals(explicit.history[columns])


def test_another_objective_is_descended_and_its_logits_are_reported(model, splits):
    def contrary(network, x, y):
        logits = network(x)
        return cross_entropy(logits, 1 - y), -logits, y

    model[2].p = 0.0
    last = fit(model, splits, Recipe(8, 16, 0.02), objective=contrary).history.iloc[-1]
    assert last["train_accuracy"] > 0.8  # of the logits that the objective gave back
    assert last["val_accuracy"] < 0.2  # of the network


def test_the_one_cycle_ends_near_zero_after_exactly_all_steps(model, splits):
    used = []
    recipe = Recipe(3, 20, 0.1)
    original = torch.optim.lr_scheduler.OneCycleLR.step

    def spy(self):
        used.append(self.optimizer.param_groups[0]["lr"])
        original(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.lr_scheduler.OneCycleLR, "step", spy)
        fit(model, splits, recipe)
    assert max(used) == pytest.approx(0.1, rel=0.05)
    assert used[-1] < 1e-4
    assert len(used) == 1 + 3 * 5  # the scheduler steps once when it is made


def test_evaluation_is_the_mean_over_examples_not_over_batches(model, splits):
    model.eval()
    logits = model(splits.val.x)
    result = evaluate(model, splits.val, batch_size=10)  # 33 images: a last batch of 3
    assert result.loss == pytest.approx(cross_entropy(logits, splits.val.y).item(), rel=1e-5)
    assert result.accuracy == pytest.approx(
        (logits.argmax(1) == splits.val.y).float().mean().item()
    )
    torch.testing.assert_close(predict(model, splits.val, batch_size=10), logits)


def test_evaluation_switches_dropout_off_and_restores_the_mode(model, splits):
    model.train()
    assert torch.equal(predict(model, splits.val), predict(model, splits.val))
    assert model.training


def test_a_last_batch_of_one_does_not_stop_batch_normalization(splits):
    normalized = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    optimizer = torch.optim.AdamW(normalized.parameters())
    result = train_epoch(normalized, splits.val.batches(32), optimizer)  # 33 = 32 + 1
    assert 0 <= result.accuracy <= 1


def test_a_loss_that_is_no_number_is_explained(model, splits):
    with pytest.raises(LabError, match="lower the learning rate"):
        fit(model, splits, Recipe(2, 16, 1e30, schedule="constant"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"batch_size": 1},
        {"lr": 0},
        {"weight_decay": -1},
        {"schedule": "x"},
        {"label_smoothing": 1},
    ],
)
def test_a_recipe_out_of_range_is_explained(wrong):
    with pytest.raises(LabError):
        Recipe(**wrong)
