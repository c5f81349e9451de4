import copy
import math
from dataclasses import replace

import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from labsupport.core.errors import LabError
from labsupport.data import Batch, Split, stream
from labsupport.training import (
    SGD,
    Constant,
    CrossEntropy,
    Recipe,
    Shift,
    Step,
    evaluate,
    fit,
    no_bias_decay,
    predict,
    train_epoch,
)

RECIPE = Recipe(epochs=4, batch_size=16, lr=0.02)


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
    result = fit(model, splits, Recipe(6, 16, 0.3, schedule=Constant()), seed)
    accuracies = result.history["val_accuracy"].tolist()
    assert result.val_accuracy == max(accuracies)
    assert result.best_epoch == accuracies.index(max(accuracies)) + 1
    assert evaluate(result.model, splits.val).accuracy == pytest.approx(max(accuracies))


def test_one_epoch_of_plain_steps_is_what_fit_does(model, splits):
    recipe = Recipe(1, 32, 0.01, schedule=Constant())
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
    reported = train_epoch(model, batches, optimizer, objective=CrossEntropy(0.2))
    assert reported.loss == pytest.approx(plain)
    target = torch.nn.functional.one_hot(batches[0][1], 2) * 0.8 + 0.2 / 2
    cross_entropy(by_hand(batches[0][0]), target).backward()
    for ours, theirs in zip(model.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs - 0.1 * theirs.grad)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_default_objective_is_the_recipes_cross_entropy_to_the_bit(model, splits, smoothing):
    def objective(network, batch):
        logits = network(batch.x)
        loss = cross_entropy(logits, batch.y, label_smoothing=smoothing)
        return Step(loss, logits, batch.y)

    recipe = Recipe(2, 16, 0.02, label_smoothing=smoothing)
    default, explicit = fit(model, splits, recipe), fit(model, splits, recipe, objective=objective)
    assert same(default.model.state_dict(), explicit.model.state_dict())
    columns = ["train_loss", "train_accuracy", "val_loss", "val_accuracy"]
    assert default.history[columns].equals(explicit.history[columns])


def test_another_objective_is_descended_and_its_logits_are_reported(model, splits):
    def contrary(network, batch):
        logits = network(batch.x)
        return Step(cross_entropy(logits, 1 - batch.y), -logits, batch.y)

    model[2].p = 0.0
    last = fit(model, splits, Recipe(8, 16, 0.02), objective=contrary).history.iloc[-1]
    assert last["train_accuracy"] > 0.8  # of the logits that the objective gave back
    assert last["val_accuracy"] < 0.2  # of the network


def test_an_objective_sees_the_extras_of_each_image(model, splits):
    def checked(network, batch):
        assert torch.equal(batch.extras["sum"], batch.x.sum((1, 2, 3)))
        return CrossEntropy()(network, batch)

    train = replace(splits.train, extras={"sum": splits.train.x.sum((1, 2, 3))})
    fit(model, replace(splits, train=train), RECIPE, objective=checked)


def test_each_batch_is_augmented_and_the_seed_decides_how(model, splits):
    def darkened(x, generator):
        return x * torch.rand((), generator=generator)

    plain, first, second = (
        fit(model, splits, Recipe(2, 16, 0.02, augmentation=chain), 1)
        for chain in ((), (darkened, darkened), (darkened, darkened))
    )
    assert same(first.model.state_dict(), second.model.state_dict())
    assert not same(plain.model.state_dict(), first.model.state_dict())


def test_an_augmentation_does_not_write_into_the_data(model, splits):
    before = splits.train.x.clone()
    fit(model, splits, Recipe(1, 16, augmentation=(Shift(1),)))
    assert torch.equal(splits.train.x, before)


def test_a_frozen_parameter_is_not_even_decayed(model, splits):
    model[1].requires_grad_(False)
    recipe = Recipe(2, 16, 0.05, weight_decay=0.5)
    result = fit(model, splits, recipe).model
    assert same(result[1].state_dict(), model[1].state_dict())
    assert not same(result[4].state_dict(), model[4].state_dict())


def test_a_network_without_trainable_parameters_is_refused(model, splits):
    with pytest.raises(LabError, match="no parameter of the network requires a gradient"):
        fit(model.requires_grad_(False), splits, RECIPE)


def constant_loss(network, batch):
    logits = network(batch.x)
    return Step(0 * logits.sum(), logits, batch.y)


def test_groups_have_their_own_weight_decay(model, splits):
    """Without a gradient only decay moves a weight: by (1 - lr decay) a step."""
    recipe = Recipe(1, 32, 0.1, 0.5, optimizer=SGD(0, nesterov=False), schedule=Constant())
    model.requires_grad_(True)
    nn.init.ones_(model[1].bias)
    result = fit(model, splits, recipe, objective=constant_loss, groups=no_bias_decay).model
    assert torch.equal(result[1].bias, model[1].bias)
    torch.testing.assert_close(result[1].weight, 0.95**3 * model[1].weight)


def test_groups_have_their_own_rate_and_may_leave_layers_out(model, splits):
    def slow_head(network):
        return [{"params": network[4].parameters(), "lr": 1e-3}]

    recipe = Recipe(1, 32, 0.1, 0.5, optimizer=SGD(0, nesterov=False), schedule=Constant())
    result = fit(model, splits, recipe, objective=constant_loss, groups=slow_head).model
    assert same(result[1].state_dict(), model[1].state_dict())
    torch.testing.assert_close(result[4].weight, (1 - 5e-4) ** 3 * model[4].weight)


def test_the_hook_sees_every_step_and_may_change_weights(model, splits):
    steps = []

    def clip(network, step):
        steps.append(step)
        for parameter in network.parameters():
            parameter.clamp_(-0.1, 0.1)

    result = fit(model, splits, Recipe(3, 20, 0.05), after_step=clip)
    assert steps == list(range(1, 1 + 3 * 5))
    assert all(p.abs().max() <= 0.1 for p in result.model.parameters())
    assert len(steps) == Recipe(3, 20).steps(96)


@pytest.mark.parametrize("seed", range(3))
def test_a_score_chooses_the_epoch(model, splits, seed):
    def worst(network, part):
        assert not any(module.training for module in network.modules())
        return -evaluate(network, part).accuracy

    result = fit(model, splits, Recipe(5, 16, 0.3, schedule=Constant()), seed, score=worst)
    accuracies = result.history["val_accuracy"].tolist()
    assert result.history["score"].tolist() == [-accuracy for accuracy in accuracies]
    assert result.val_accuracy == min(accuracies)
    assert result.best_epoch == accuracies.index(min(accuracies)) + 1


@pytest.mark.parametrize(
    ("scores", "best"), [((math.nan, 1, 2), 3), ((1, math.nan, 0), 1), ((math.nan,) * 3, 1)]
)
def test_a_score_that_is_no_number_is_the_worst(model, splits, scores, best):
    given = iter(scores)
    result = fit(model, splits, Recipe(3, 32), score=lambda *_: next(given))
    assert result.best_epoch == best


def test_the_last_epoch_can_be_kept(model, splits):
    recipe = Recipe(5, 16, 0.3, schedule=Constant(), keep="last")
    result = fit(model, splits, recipe)
    last = result.history.iloc[-1]
    assert result.best_epoch == 5
    assert result.val_accuracy == last["val_accuracy"]
    assert evaluate(result.model, splits.val).accuracy == pytest.approx(last["val_accuracy"])


def test_without_validation_images_only_the_last_epoch_can_be_kept(model, splits):
    alone = replace(splits, val=splits.val.take(0))
    result = fit(model, alone, replace(RECIPE, keep="last"))
    assert result.best_epoch == 4
    assert math.isnan(result.val_accuracy)
    with pytest.raises(LabError, match="no validation images"):
        fit(model, alone, RECIPE)
    with pytest.raises(LabError, match="no training images"):
        fit(model, replace(splits, train=splits.train.take(0)), RECIPE)


def conv_net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 2)
    )


def colored(splits):
    def part(split):
        return Split(split.x.repeat(1, 3, 4, 4), split.y)

    return replace(splits, train=part(splits.train), val=part(splits.val), test=part(splits.test))


def test_channels_last_trains_alike_and_gives_the_usual_layout_back(splits):
    seen = []

    def watched(network, batch):
        seen.append(batch.x.is_contiguous(memory_format=torch.channels_last))
        seen.append(network[0].weight.is_contiguous(memory_format=torch.channels_last))
        return CrossEntropy()(network, batch)

    images, recipe = colored(splits), Recipe(1, 32, 1e-3)
    usual = fit(conv_net(), images, recipe)
    last = fit(conv_net(), images, replace(recipe, channels_last=True), objective=watched)
    assert all(seen)
    torch.testing.assert_close(
        predict(usual.model, images.test), predict(last.model, images.test), atol=1e-3, rtol=1e-3
    )
    assert all(p.is_contiguous() for p in last.model.parameters())


def test_a_network_in_eval_mode_is_put_into_training_mode_altogether(splits):
    trained = conv_net().eval()
    result = fit(trained, colored(splits), Recipe(1, 32)).model
    assert not torch.equal(result[1].running_mean, trained[1].running_mean)
    assert not result.training
    assert not trained.training


def test_a_module_frozen_on_purpose_stays_in_eval_mode_while_the_rest_trains(splits):
    network, modes = conv_net().train(), []
    network[1].eval()
    result = fit(
        network,
        colored(splits),
        Recipe(2, 32),
        after_step=lambda net, step: modes.append([m.training for m in net]),
    ).model
    assert modes
    assert all(mode == [True, False, True, True, True] for mode in modes)
    assert torch.equal(result[1].running_mean, network[1].running_mean)
    assert not torch.equal(result[1].weight, network[1].weight)
    assert [m.training for m in network] == [True, False, True, True, True]


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


def test_a_last_batch_of_one_does_not_stop_batch_normalization(splits):
    normalized = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    optimizer = torch.optim.AdamW(normalized.parameters())
    result = train_epoch(normalized, splits.val.batches(32), optimizer)  # 33 = 32 + 1
    assert 0 <= result.accuracy <= 1


def test_a_streamed_set_is_trained_on_as_one_in_memory():
    streamed = stream("mnist5k", max_train=64)
    network = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    result = fit(network, streamed, Recipe(2, 32, augmentation=(Shift(1),)))
    assert result.history["train_loss"].is_monotonic_decreasing
    assert result.val_accuracy == pytest.approx(evaluate(result.model, streamed.val).accuracy)


def test_pairs_are_batches_without_extras(model, splits):
    model[2].p = 0.0
    pair, batch, x, y = copy.deepcopy(model), copy.deepcopy(model), splits.val.x, splits.val.y
    for network, given in ((pair, (x, y)), (batch, Batch(x, y))):
        train_epoch(network, [given], torch.optim.SGD(network.parameters(), 0.1))
    assert same(pair.state_dict(), batch.state_dict())


@pytest.mark.parametrize(("logit", "became"), [(math.nan, "NaN"), (3e38, "infinite")])
def test_a_loss_that_is_no_number_is_explained(model, splits, logit, became):
    def broken(network, batch):
        logits = torch.tensor([0.0, logit]).expand(len(batch.y), 2)
        return Step(network(batch.x).sum(), logits, 0 * batch.y)

    with pytest.raises(LabError, match=f"loss became {became}; lower the learning rate"):
        fit(model, splits, RECIPE, objective=broken)


@pytest.mark.parametrize(("value", "became"), [(math.nan, "NaN"), (math.inf, "infinite")])
def test_an_objective_that_is_no_number_in_the_last_step_is_an_error(model, splits, value, became):
    recipe, steps = Recipe(2, 16, 0.02, keep="last"), iter(range(1, 10**6))
    last = recipe.steps(len(splits.train))

    def objective(network, batch):
        logits = network(batch.x)
        factor = value if next(steps) == last else 1.0
        return Step(cross_entropy(logits, batch.y) * factor, logits, batch.y)

    with pytest.raises(LabError, match=f"loss became {became}"):
        fit(model, splits, recipe, objective=objective)


def test_a_label_without_an_output_is_explained(model, splits):
    splits = replace(splits, train=Split(splits.train.x, splits.train.y + 1))
    with pytest.raises(LabError, match="labels up to 2 for 2 outputs"):
        fit(model, splits, RECIPE)
