from dataclasses import replace
from itertools import combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from made_methods import IMAGE, toy_splits
from made_rules import same, snapshot, toy_network, used
from torch import nn

from labsupport.core.errors import LabError
from labsupport.methods.distillation import SoftTargets, with_teacher
from labsupport.methods.ensembles import (
    average,
    disagreement,
    disagreements,
    ensemble,
    mirrored,
    multicrop,
)
from labsupport.network.batch_norm import recalibrated
from labsupport.network.cost import cost, parameter_count
from labsupport.training import SGD, Cyclic, Recipe, derive, fit, predict, snapshots
from labsupport.training.augmentation import shifted


@pytest.fixture(scope="module")
def splits():
    return toy_splits()


class Fixed(nn.Module):
    """Answers row i of a table to an image whose first pixel is i."""

    def __init__(self, table):
        super().__init__()
        self.table = nn.Parameter(torch.as_tensor(table, dtype=torch.float32))

    def forward(self, x):
        return self.table[x[:, 0, 0, 0].long()]


def numbered(split):
    x = torch.arange(len(split)).float().view(-1, 1, 1, 1).expand_as(split.x)
    return replace(split, x=x)


def test_an_ensemble_gives_the_mean_of_probabilities(splits):
    members = [toy_network(seed).eval() for seed in range(3)]
    together = ensemble(members)
    mean = sum(predict(member, splits.test).softmax(1) for member in members) / 3
    torch.testing.assert_close(predict(together, splits.test).softmax(1), mean)
    torch.testing.assert_close(predict(together, splits.test).exp(), mean)


def test_an_ensemble_of_one_and_of_equals_answers_like_one(splits):
    model = toy_network()
    expected = predict(model, splits.test).log_softmax(1)
    for members in (1, 3):
        answers = predict(ensemble([model] * members), splits.test)
        torch.testing.assert_close(answers, expected)


def test_probabilities_that_no_float_holds_stay_finite():
    sure = [[200.0, 0.0, 0.0]]
    answers = ensemble([Fixed(sure), Fixed(sure)])(torch.zeros(1, 1, 2, 2))
    torch.testing.assert_close(answers, torch.tensor([[0.0, -200.0, -200.0]]))


def test_a_mirrored_network_answers_alike_for_mirror_images(splits):
    model, x = toy_network().eval(), splits.test.x
    both = mirrored(model)
    expected = (model(x).softmax(1) + model(x.flip(-1)).softmax(1)) / 2
    torch.testing.assert_close(both(x).softmax(1), expected)
    torch.testing.assert_close(both(x), both(x.flip(-1)))


def test_a_mirrored_network_has_its_weights_once_and_its_macs_twice():
    model = toy_network().eval()
    both = mirrored(model)
    assert parameter_count(both) == parameter_count(model)
    assert cost(both, IMAGE).fp_macs == 2 * cost(model, IMAGE).fp_macs


def test_six_crops_are_the_image_two_shifts_and_their_mirror_images(splits):
    model, x = toy_network().eval(), splits.test.x
    moved = [x, shifted(x, -2, -2), shifted(x, 2, 2)]
    expected = sum(model(y).softmax(1) for z in moved for y in (z, z.flip(-1))) / 6
    torch.testing.assert_close(multicrop(model, pixels=2)(x).softmax(1), expected)
    assert parameter_count(multicrop(model)) == parameter_count(model)
    assert cost(multicrop(model), IMAGE).fp_macs == 6 * cost(model, IMAGE).fp_macs


def test_a_view_moves_by_one_pixel_unless_said(splits):
    model, x = toy_network().eval(), splits.test.x
    torch.testing.assert_close(multicrop(model)(x), multicrop(model, pixels=1)(x))
    assert not torch.equal(multicrop(model)(x), multicrop(model, pixels=2)(x))


@pytest.mark.parametrize("build", [mirrored, multicrop, lambda model: ensemble([model, model])])
def test_all_around_the_networks_is_in_the_mode_of_the_first(build):
    model = toy_network()
    for training in (True, False):
        around = build(model.train(training))
        assert all(module.training == training for module in around.modules())


def test_the_networks_own_modes_stay():
    model = toy_network().train()
    [*model.modules()][-1].eval()
    modes = [module.training for module in model.modules()]
    for copied in (mirrored(model).members[0], ensemble([model, model]).members[1]):
        assert [module.training for module in copied.modules()] == modes


@pytest.mark.parametrize("pixels", [0, -1, 1.5, "1"])
def test_views_move_by_whole_pixels(pixels):
    with pytest.raises(LabError, match="pixels; give a whole number above 0"):
        multicrop(toy_network(), pixels)


@pytest.mark.parametrize("members", [1, 2, 5])
def test_cost_and_parameters_are_the_sums_of_the_members(members):
    model = toy_network().eval()
    together = ensemble([model] * members)
    assert parameter_count(together) == members * parameter_count(model)
    assert cost(together, IMAGE) == cost(model, IMAGE) * members


def test_members_are_copies_and_stay_as_they_were(splits):
    members = [used(toy_network(seed)) for seed in range(2)]
    before = [snapshot(member) for member in members]
    fit(ensemble(members), splits, Recipe(1, 16, 1e-2))
    average(members)
    disagreement(members, splits.test)
    recalibrated(members[0], splits.train)
    assert all(same(b, snapshot(member)) for b, member in zip(before, members, strict=True))
    assert ensemble(members).training
    assert not ensemble([toy_network().eval()]).training


def test_a_student_learns_from_an_ensemble(splits):
    members = [fit(toy_network(seed), splits, Recipe(5, 16, 1e-2)).model for seed in range(3)]
    train = with_teacher(splits.train, ensemble(members))
    taught, recipe = replace(splits, train=train), Recipe(80, 16, 1e-2, keep="last")
    student = fit(toy_network(9), taught, recipe, objective=SoftTargets(2.0, 1.0)).model
    expected = predict(ensemble(members), splits.train).argmax(1)
    assert (predict(student, splits.train).argmax(1) == expected).float().mean() > 0.6


def test_no_member_and_members_of_other_classes_are_refused(splits):
    with pytest.raises(LabError, match="ensemble of nothing"):
        ensemble([])
    other = nn.Sequential(nn.Flatten(), nn.Linear(64, 5))
    with pytest.raises(LabError, match="for 3 and 5 classes"):
        predict(ensemble([toy_network(), other]), splits.test)


def test_the_mean_of_weights_is_that_of_linear_networks_answers(splits):
    torch.manual_seed(0)
    members = [nn.Sequential(nn.Flatten(), nn.Linear(64, 3)) for _ in range(3)]
    mean = sum(predict(member, splits.test) for member in members) / 3
    torch.testing.assert_close(predict(average(members), splits.test), mean)
    assert type(average(members)) is nn.Sequential


def test_weights_of_other_networks_and_of_none_have_no_mean():
    with pytest.raises(LabError, match="mean of no network"):
        average([])
    with pytest.raises(LabError, match=r"differ in 1\.weight"):
        average([nn.Sequential(nn.Flatten(), nn.Linear(4, width)) for width in (2, 3)])
    coded = [nn.Linear(4, 3) for _ in range(2)]
    for number, network in enumerate(coded):
        network.register_buffer("codes", torch.tensor([number]))
    with pytest.raises(LabError, match="different whole numbers in codes"):
        average(coded)
    assert average([coded[0], coded[0]]).codes.tolist() == [0]


@given(st.lists(st.lists(st.integers(0, 2), min_size=24, max_size=24), min_size=2, max_size=4))
def test_disagreement_is_the_mean_over_pairs(answers):
    split = numbered(toy_splits().val)
    members = [Fixed(torch.eye(3)[torch.tensor(each)]) for each in answers]
    pairs = [
        sum(a != b for a, b in zip(*pair, strict=True)) / 24 for pair in combinations(answers, 2)
    ]
    assert disagreement(members, split) == pytest.approx(sum(pairs) / len(pairs))
    shares = disagreements(members, split)
    assert torch.equal(shares, shares.T)
    assert shares.diagonal().eq(0).all()
    assert shares[0, 1].item() == pytest.approx(pairs[0])


def test_fewer_than_two_do_not_disagree(splits):
    for members, said in (([], "no network"), ([toy_network()], "nobody to disagree")):
        with pytest.raises(LabError, match=said):
            disagreement(members, splits.test)


def test_a_snapshot_ensemble_and_the_mean_of_its_weights(splits, tmp_path):
    recipe = Recipe(6, 16, 0.05, 0.0, optimizer=SGD(), schedule=Cyclic(3), keep="last")
    kept = derive(tmp_path, snapshots, toy_network(), splits=splits, recipe=recipe, seed=0).network
    together = ensemble(kept)
    assert len(together.members) == len(kept) == 3
    assert disagreement(kept, splits.val) > 0
    flat = recalibrated(average(kept), splits.train)
    assert parameter_count(flat) == parameter_count(kept[0])
    torch.testing.assert_close(flat[0].weight, torch.stack([m[0].weight for m in kept]).mean(0))


@pytest.mark.parametrize("epochs", [1, 2, 4])
def test_cycles_that_do_not_divide_the_epochs_are_refused(splits, epochs):
    with pytest.raises(LabError, match=f"3 cycles in {epochs} epochs"):
        snapshots(toy_network(), splits, Recipe(epochs, schedule=Cyclic(3)), 0)
