import copy

import pytest
import torch
from made_methods import BRIEF, toy_splits
from made_nets import Residual
from made_rules import same, snapshot, toy_network, used
from torch import nn

from labsupport.core.errors import LabError
from labsupport.data import Batch
from labsupport.methods.distillation import Guided, Hints, fit_net, learn_hint, regressor
from labsupport.training import Constant, Recipe, fit, predict

LONG = Recipe(60, 48, 0.02, 0.0, schedule=Constant(), keep="last")


@pytest.fixture(scope="module")
def splits():
    return toy_splits()


def student(seed=1):
    """Maps of 2 x 6 x 6 after layer 1, the teacher's are 4 x 3 x 3 after layer 2."""
    torch.manual_seed(seed)
    layers = nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(72, 3)
    return nn.Sequential(*layers)


@pytest.mark.parametrize(
    ("guided", "hint"),
    [((5,), (3,)), ((2, 6, 6), (4, 3, 3)), ((2, 5, 4), (7, 5, 4)), ((1, 9, 3), (1, 1, 3))],
)
def test_a_regressor_takes_features_to_the_shape_of_the_hint(guided, hint):
    between = regressor(guided, hint)
    assert between(torch.randn(4, *guided)).shape == (4, *hint)
    inputs = torch.Size(guided).numel() if len(guided) == 1 else guided[0]
    kernel = 1 if len(guided) == 1 else (guided[1] - hint[1] + 1) * (guided[2] - hint[2] + 1)
    assert sum(p.numel() for p in between.parameters()) == hint[0] * (inputs * kernel + 1)


@pytest.mark.parametrize(
    ("guided", "hint"), [((2, 3, 3), (4, 6, 6)), ((2, 3, 3), (4,)), ((4,), (2, 3, 3)), ((), ())]
)
def test_features_that_do_not_fit_are_refused(guided, hint):
    with pytest.raises(LabError, match="cannot learn a hint of"):
        regressor(guided, hint)


def test_the_loss_is_half_the_mean_square(splits):
    teacher, between = toy_network(0).eval(), regressor((2, 6, 6), (4, 3, 3))
    model = Guided(student(), "0", between)
    x, y = splits.train.x, splits.train.y
    loss, logits, labels = Hints(teacher[:3])(model, Batch(x, y))
    difference = between(model.student[0](x)) - teacher[:3](x)
    torch.testing.assert_close(loss, (difference**2).mean() / 2)
    torch.testing.assert_close(logits, model.student(x))
    assert torch.equal(labels, y)
    torch.testing.assert_close(Hints(teacher[:3]).score(model, splits.train), -loss.item())


def test_a_teacher_in_training_mode_is_left_as_it_is(splits):
    stem = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)).train()
    model = Guided(student(), "0", regressor((2, 6, 6), (4, 6, 6)))
    Hints(stem)(model, Batch(splits.train.x, splits.train.y))
    assert stem[1].num_batches_tracked == 0
    assert stem.training


def test_a_student_learns_the_hint_and_only_up_to_its_layer(splits):
    teacher, before = toy_network(0), toy_network(1)
    after = learn_hint(before, teacher, splits, LONG, guided="2", hint="2")
    assert not torch.equal(after[0].weight, before[0].weight)
    for layer in (4, 7):
        assert torch.equal(after[layer].weight, before[layer].weight)
    left = [unexplained(model, teacher, splits.val) for model in (before, after)]
    assert left[1] < 0.5 * left[0]


def unexplained(model, teacher, split):
    """What the best linear map of a network's maps behind layer 2 leaves of the teacher's."""
    rows, targets = (
        net[:3](split.x).detach().movedim(1, 3).flatten(0, 2) for net in (model, teacher)
    )
    rows = torch.cat([rows, torch.ones(len(rows), 1)], 1)
    found = torch.linalg.lstsq(rows, targets, driver="gelsd").solution
    return (rows @ found - targets).square().mean().item()


def test_a_copy_of_the_teacher_has_nothing_to_learn_from_its_own_layer(splits):
    teacher = toy_network(0).eval()
    between = regressor((12,), (12,))
    with torch.no_grad():
        between.weight.copy_(torch.eye(12))
        between.bias.zero_()
    model = Guided(copy.deepcopy(teacher), "4", between)
    loss = Hints(teacher[:5])(model, Batch(splits.train.x, splits.train.y)).loss
    assert loss.item() == pytest.approx(0, abs=1e-10)


def test_both_stages_make_a_student_that_answers_like_its_teacher(splits):
    teacher = fit(toy_network(0), splits, LONG).model
    trained = fit_net(student(), teacher, splits, (BRIEF, LONG), guided="1", hint="2")
    assert isinstance(trained.model, nn.Sequential)
    answers = predict(teacher, splits.train).argmax(1)
    assert (predict(trained.model, splits.train).argmax(1) == answers).float().mean() > 0.7


def test_layers_of_networks_that_are_no_sequence(splits):
    teacher, pupil = Residual(), Residual()
    after = learn_hint(pupil, teacher, splits, BRIEF, guided="blocks.0.norm2", hint="blocks.1")
    assert type(after) is Residual
    assert not torch.equal(after.stem.weight, pupil.stem.weight)
    assert torch.equal(after.blocks[1].conv1.weight, pupil.blocks[1].conv1.weight)


def test_student_and_teacher_stay_as_they_were(splits):
    networks = [used(toy_network(seed)) for seed in (0, 1)]
    before = [snapshot(network) for network in networks]
    fit_net(*networks, splits, (BRIEF, BRIEF), guided="2", hint="2")
    assert all(same(b, snapshot(network)) for b, network in zip(before, networks, strict=True))
    assert not any(m._forward_hooks for network in networks for m in network.modules())


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        ({"guided": "9", "hint": "2"}, "no layer '9'"),
        ({"guided": "", "hint": "2"}, "no layer ''"),
        ({"guided": "0", "hint": "9"}, "'9'"),
        ({"guided": "0", "hint": "3"}, "2x6x6 cannot learn a hint of 36"),
    ],
)
def test_a_hint_layer_that_is_not_there_or_does_not_fit_is_refused(splits, layers, said):
    with pytest.raises(LabError, match=said):
        learn_hint(student(), toy_network(0), splits, BRIEF, **layers)


def test_a_teacher_of_other_classes_is_refused_before_anything_is_trained(splits):
    other = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(72, 5))
    with pytest.raises(LabError, match="3 classes learn from 5"):
        fit_net(student(), other, splits, (BRIEF, BRIEF), guided="0", hint="0")


def test_hints_for_a_plain_network_are_refused(splits):
    with pytest.raises(LabError, match="no layer that learns a hint"):
        Hints(nn.Identity())(student(), Batch(splits.train.x, splits.train.y))
