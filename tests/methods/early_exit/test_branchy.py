import copy
import math

import pytest
import torch
from made_rules import Doubled, Named
from torch import nn
from torch.nn.functional import cross_entropy

from labsupport.core.errors import LabError
from labsupport.data import Batch, Split, Splits
from labsupport.methods.early_exit.branchy import JointExits, attach_branches, entropy
from labsupport.methods.early_exit.heads import side_branch
from labsupport.training import Recipe, Shift, fit

LEAVE_OFTEN = (1.2, 1.0)  # nats; three classes have at most 1.0986


@pytest.fixture
def trunk():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64, 8),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(8, 3),
    ).double()  # double precision, so that no entropy lies within rounding of a threshold


@pytest.fixture
def net(trunk):
    torch.manual_seed(1)
    branches = {2: side_branch((4, 4, 4), 3).double(), 5: side_branch((8,), 3).double()}
    return attach_branches(trunk.eval(), branches, chunk=50)


def images(n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(n, 1, 6, 6, generator=generator, dtype=torch.float64)


def between(net):
    """Thresholds at which a third of the images leaves at either branch."""
    first, second, _ = net.all_logits(images(200, 9))
    at_first = entropy(first).quantile(0.33).item()
    left_over = entropy(first) >= at_first
    return at_first, entropy(second)[left_over].quantile(0.5).item()


def by_brute_force(net, x):
    """Run every exit for every image, then pick one image at a time."""
    exits, picked = net.all_logits(x), []
    for row in range(len(x)):
        for index, (logits, threshold) in enumerate(
            zip(exits, [*net.thresholds, math.inf], strict=True)
        ):
            share = logits[row].softmax(0)
            sure = -(share * share.log()).sum() < threshold
            if sure or index == len(exits) - 1:
                picked.append((logits[row], index))
                break
    return torch.stack([logits for logits, _ in picked]), [index for _, index in picked]


@pytest.mark.parametrize("n", [1, 2, 7, 50, 51, 130])
def test_leaving_early_equals_running_all_exits_and_picking(net, n):
    net = net.with_thresholds(between(net))
    x = images(n)
    expected, expected_exits = by_brute_force(net, x)
    logits, exits = net.exits(x)
    torch.testing.assert_close(logits, expected)
    torch.testing.assert_close(net(x), expected)
    assert exits.tolist() == expected_exits
    assert exits.dtype == torch.int64
    if n >= 50:
        assert set(expected_exits) == {0, 1, 2}  # the test would be empty otherwise


def test_one_image_gets_the_answer_it_gets_in_a_batch(net):
    net = net.with_thresholds(between(net))
    x = images(40)
    torch.testing.assert_close(torch.cat([net(one) for one in x.split(1)]), net(x))


@pytest.mark.parametrize("chunk", [1, 3, 1000])
def test_the_chunk_size_changes_nothing_else(trunk, net, chunk):
    other = attach_branches(trunk, dict(zip(net.layers, net.branches, strict=True)), chunk)
    thresholds, x = between(net), images(20)
    torch.testing.assert_close(
        other.with_thresholds(thresholds)(x), net.with_thresholds(thresholds)(x)
    )


def test_an_empty_batch_gives_empty_logits(net):
    for thresholds in ((0, 0), LEAVE_OFTEN):
        logits, exits = net.with_thresholds(thresholds).exits(images(0))
        assert logits.shape == (0, 3)
        assert exits.shape == (0,)


@pytest.mark.parametrize("thresholds", [(0.0, 0.0), (-1.0, -math.inf)])
@pytest.mark.parametrize("n", [1, 60])
def test_a_threshold_of_zero_or_less_is_the_trunk(net, trunk, thresholds, n):
    logits, exits = net.with_thresholds(thresholds).exits(images(n))
    torch.testing.assert_close(logits, trunk(images(n)))
    torch.testing.assert_close(net(images(n)), trunk(images(n)))  # as it is when attached
    assert set(exits.tolist()) == {2}


@pytest.mark.parametrize("n", [1, 60])
def test_above_the_largest_entropy_all_leave_at_the_first_branch(net, n):
    first = net.with_thresholds((math.log(3) + 1e-6, 0))
    logits, exits = first.exits(images(n))
    torch.testing.assert_close(logits, net.all_logits(images(n))[0])
    torch.testing.assert_close(first(images(n)), logits)
    assert set(exits.tolist()) == {0}


@pytest.mark.parametrize("n", [1, 5])
def test_images_that_are_no_numbers_run_to_the_end(net, n):
    x = images(n)
    x[0, 0, 3, 3] = math.nan
    logits, exits = net.with_thresholds((math.inf, math.inf)).exits(x)
    assert exits.tolist() == [2] + [0] * (n - 1)
    assert logits[0].isnan().all()
    assert not logits[1:].isnan().any()
    assert net.with_thresholds((math.inf, math.inf))(x)[0].isnan().all()


@pytest.mark.parametrize("n", [1, 5])
def test_a_branch_that_never_lets_one_leave_is_not_run(net, n):
    ran = []
    net.branches[0].register_forward_hook(lambda *_: ran.append(0))
    net.branches[1].register_forward_hook(lambda *_: ran.append(1))
    net.with_thresholds((0, 1e-30))(images(n))
    assert ran == [1]


def test_in_training_the_last_exit_answers(net, trunk):
    trunk[5].p = 0.0
    net = attach_branches(trunk, dict(zip(net.layers, net.branches, strict=True)))
    training = net.with_thresholds((math.inf, math.inf)).train()
    torch.testing.assert_close(training(images(7)), trunk(images(7)))


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_entropy_of_known_shares(classes):
    one_hot = torch.full((1, classes), -math.inf)
    one_hot[0, 1] = 0.0
    assert entropy(torch.full((1, classes), 7.0)).item() == pytest.approx(math.log(classes))
    assert entropy(one_hot).item() == 0
    assert entropy(one_hot.exp() * 1e4).item() == 0


def test_entropy_is_torchs_and_in_nats():
    logits = images(9).flatten(1)
    expected = torch.distributions.Categorical(logits=logits).entropy()
    torch.testing.assert_close(entropy(logits), expected)
    half = torch.tensor([[0.5, 0.25, 0.25]]).log()
    assert entropy(half).item() == pytest.approx(1.5 * math.log(2))


@pytest.mark.parametrize("training", [True, False])
def test_the_input_network_is_never_changed_nor_shared(trunk, training):
    trunk.train(training)
    before, branch = copy.deepcopy(trunk.state_dict()), side_branch((8,), 3).double()
    net = attach_branches(trunk, {5: branch})
    assert net.training is training
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(1.0)
    net.train(not training)
    assert trunk.training is training
    assert all(torch.equal(before[name], value) for name, value in trunk.state_dict().items())
    assert not any((p == 1).all() for p in branch.parameters())


def test_a_sequential_by_another_name_can_be_branched():
    model, x = Named(4), torch.randn(2, 3)
    net = attach_branches(model.eval(), {1: side_branch((4,), 2)})
    assert torch.equal(net(x), model(x))
    assert torch.equal(net.all_logits(x)[0], net.branches[0](model[0](x)))


def test_other_thresholds_make_another_network_that_shares_nothing(net):
    other = net.with_thresholds(LEAVE_OFTEN)
    assert net.thresholds == (0.0, 0.0)
    assert other.thresholds == LEAVE_OFTEN
    mine = {parameter.data_ptr() for parameter in net.parameters()}
    assert not mine & {parameter.data_ptr() for parameter in other.parameters()}


@pytest.mark.parametrize("shape", [(12,), (4, 5, 6), (3, 1, 1)])
@pytest.mark.parametrize("n", [0, 1, 3])
def test_a_side_branch_takes_features_of_any_shape(shape, n):
    assert side_branch(shape, 5)(torch.zeros(n, *shape)).shape == (n, 5)


@pytest.mark.parametrize(
    ("layer", "problem"),
    [
        (-1, "no layer -1"),
        (0, "branch on the input"),
        (7, "no layer 7 .*6"),
        ("99", "no layer '99'"),
    ],
)
def test_a_layer_outside_the_trunk_is_explained(trunk, layer, problem):
    with pytest.raises(LabError, match=problem):
        attach_branches(trunk, {2: side_branch((4, 4, 4), 3), layer: side_branch((8,), 3)})


def test_what_cannot_be_branched_is_explained(trunk):
    for other in (nn.Linear(2, 2), Doubled(nn.Linear(2, 2), nn.Linear(2, 2))):
        with pytest.raises(LabError, match="have no numbers to cut at"):
            attach_branches(other, {1: side_branch((2,), 2)})
    with pytest.raises(LabError, match="no branch"):
        attach_branches(trunk, {})
    with pytest.raises(LabError, match="at least 1"):
        attach_branches(trunk, {5: side_branch((8,), 3)}, chunk=0)


@pytest.mark.parametrize("thresholds", [(), (0.1,), (0.1, 0.1, 0.1), (0.1, math.nan)])
def test_thresholds_that_do_not_fit_the_branches_are_explained(net, thresholds):
    with pytest.raises(LabError, match="each of the 2 branches"):
        net.with_thresholds(thresholds)


def test_the_joint_loss_is_the_weighted_sum_and_so_is_its_gradient(net):
    x, y, weights = images(16), torch.arange(16) % 3, (1.0, 0.25, 0.5)
    loss, logits, _ = JointExits(weights)(net, Batch(x, y))
    exits = net.all_logits(x)
    parts = [cross_entropy(exit_, y) for exit_ in exits]
    expected = sum(weight * part for weight, part in zip(weights, parts, strict=True))
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(logits, exits[-1])
    parameters = list(net.parameters())
    ours = torch.autograd.grad(loss, parameters)
    theirs = torch.autograd.grad(expected, parameters)
    torch.testing.assert_close(ours, theirs)
    assert all(gradient.abs().sum() > 0 for gradient in ours)


def test_smoothed_labels_count_at_every_exit(net):
    x, y = images(8), torch.arange(8) % 3
    target = torch.nn.functional.one_hot(y, 3) * 0.7 + 0.1
    expected = sum(cross_entropy(exit_, target) for exit_ in net.all_logits(x))
    loss, *_ = JointExits((1, 1, 1), label_smoothing=0.3)(net, Batch(x, y))
    torch.testing.assert_close(loss, expected)


def test_a_weight_of_zero_leaves_that_branch_untrained(net):
    loss, *_ = JointExits((0.0, 0.0, 1.0))(net, Batch(images(8), torch.arange(8) % 3))
    loss.backward()
    assert all((p.grad == 0).all() for p in net.branches.parameters())
    assert net.segments[0][0].weight.grad.abs().sum() > 0


@pytest.mark.parametrize("weights", [(), (0, 0), (1, -1), (math.nan, 1), (1, math.inf)])
def test_weights_that_train_nothing_or_backwards_are_explained(weights):
    with pytest.raises(LabError, match="weights"):
        JointExits(weights)


def test_an_objective_of_another_network_is_explained(net, trunk):
    y = torch.arange(4) % 3
    with pytest.raises(LabError, match="2 weights for 3 exits"):
        JointExits((1, 1))(net, Batch(images(4), y))
    with pytest.raises(LabError, match="attach branches"):
        JointExits((1, 1))(trunk, Batch(images(4), y))


def test_joint_training_teaches_every_exit(net):
    def part(n, seed):
        y = torch.arange(n) % 3
        return Split(images(n, seed) / 3 + 2.0 * (y.view(-1, 1, 1, 1) - 1), y)

    splits = Splits(
        "made", part(120, 1), part(60, 2), part(60, 3), ("a", "b", "c"), (0.0,), (1.0,), "f"
    )
    recipe = Recipe(5, 20, 0.02, augmentation=(Shift(1),))
    result = fit(net, splits, recipe, objective=JointExits((1, 1, 1)))
    for logits in result.model.all_logits(splits.test.x):
        assert (logits.argmax(1) == splits.test.y).double().mean() > 0.9
