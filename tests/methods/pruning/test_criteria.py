import copy

import pytest
import torch
from scipy.stats import spearmanr
from torch import nn
from torch.nn.functional import cross_entropy
from torchvision.models import resnet18

from labsupport.core.errors import LabError
from labsupport.data import Split
from labsupport.methods.pruning import criteria
from labsupport.methods.surgery import channel_groups, mask_channels, prunable

SHAPE = (1, 8, 8)


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 5, 3),
        nn.BatchNorm2d(5),
        nn.ReLU(),
        nn.Conv2d(5, 4, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16, 6),
        nn.ReLU(),
        nn.Linear(6, 3),
    ).double()


@pytest.fixture
def split():
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(23, *SHAPE, generator=draw).double()
    return Split(x, torch.randint(3, (23,), generator=draw))


def groups_of(net):
    return prunable(channel_groups(net, SHAPE))


def test_norms_are_those_of_each_filter(net):
    groups = groups_of(net)
    for of_weights, p in ((criteria.l1, 1), (criteria.l2, 2)):
        scores = of_weights(net, groups)
        for name, layer in (("0", net[0]), ("3", net[3]), ("7", net[7])):
            torch.testing.assert_close(scores[name], layer.weight.detach().flatten(1).norm(p, 1))


def test_norms_of_added_channels_are_over_all_layers_that_make_them():
    net = resnet18().double()
    group = next(g for g in channel_groups(net, (3, 32, 32)) if g.name == "conv1")
    whole = torch.cat(
        [net.get_submodule(made.layer).weight.detach().flatten(1) for made in group.producers], 1
    )
    torch.testing.assert_close(criteria.l2(net, [group])["conv1"], whole.norm(2, 1))
    torch.testing.assert_close(criteria.l1(net, [group])["conv1"], whole.norm(1, 1))


def test_the_scale_is_the_batch_norms(net):
    nn.init.uniform_(net[1].weight, -1, 1)
    group = groups_of(net)[:1]
    scale = criteria.batch_norm_scale(net, group)["0"]
    torch.testing.assert_close(scale, net[1].weight.detach().abs())
    with pytest.raises(LabError, match="no batch norm scales the channels of 3"):
        criteria.batch_norm_scale(net, groups_of(net))


@pytest.mark.parametrize("batch_size", [5, 23, 100])
@pytest.mark.parametrize("at_once", [1, 3, 100])
def test_the_oracle_is_the_change_of_the_loss(net, split, batch_size, at_once):
    net.eval()
    scores = criteria.oracle(split, batch_size, at_once)(net, groups_of(net))
    loss = cross_entropy(net(split.x), split.y)
    for name, values in scores.items():
        for channel, value in enumerate(values):
            without = mask_channels(net, SHAPE, {name: [channel]})(split.x)
            torch.testing.assert_close(value, (cross_entropy(without, split.y) - loss).detach())


def by_hand(net, layers, split):
    """Molchanov's formula with the activations themselves, example by example."""
    total = 0
    for x, y in zip(split.x.split(1), split.y.split(1), strict=True):
        activation = net[:layers](x).detach().requires_grad_()
        cross_entropy(net[layers:](activation), y).backward()
        change = (activation * activation.grad).flatten(2).mean(2).abs()
        total = total + change[0]
    return total / total.norm()


@pytest.mark.parametrize("batch_size", [1, 7, 100])
def test_taylor_is_the_formula_example_by_example(net, split, batch_size):
    net.eval()
    scores = criteria.taylor(split, batch_size)(net, groups_of(net))
    torch.testing.assert_close(scores["0"], by_hand(net, 3, split))
    # Behind the pooling the gate sees fewer positions, which the normalization takes out again.
    torch.testing.assert_close(scores["3"], by_hand(net, 5, split))


def test_taylor_does_not_let_positive_and_negative_examples_cancel(net, split):
    net.eval()
    signed = 0
    group = groups_of(net)[0]
    for x, y in zip(split.x.split(1), split.y.split(1), strict=True):
        activation = net[:3](x).detach().requires_grad_()
        cross_entropy(net[3:](activation), y).backward()
        signed = signed + (activation * activation.grad).flatten(2).mean(2)[0]
    wrong = signed.abs() / signed.norm()
    right = criteria.taylor(split)(net, [group])["0"]
    assert not torch.allclose(wrong, right)


def test_a_channel_that_is_never_active_scores_nothing(net, split):
    net.eval()
    with torch.no_grad():
        net[7].weight[2], net[7].bias[2] = 0, -1
    for criterion in (criteria.taylor(split), criteria.oracle(split)):
        assert criterion(net, groups_of(net))["7"][2].abs() < 1e-12


def test_the_criteria_of_data_agree_on_the_order(net, split):
    net.eval()
    groups = [group for group in groups_of(net) if group.name == "7"]
    taylor, oracle = (c(split)(net, groups)["7"] for c in (criteria.taylor, criteria.oracle))
    assert spearmanr(taylor, oracle.abs()).statistic > 0.7


def test_random_scores_repeat_with_the_seed(net):
    groups = groups_of(net)
    one, again, other = (criteria.random(seed)(net, groups) for seed in (3, 3, 4))
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not any(torch.equal(one[name], other[name]) for name in one)


def test_no_criterion_changes_the_network(net, split):
    net.train()
    before = copy.deepcopy(net.state_dict())
    for criterion in (criteria.l1, criteria.l2, criteria.taylor(split), criteria.oracle(split)):
        criterion(net, groups_of(net))
    assert all(torch.equal(before[name], now) for name, now in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())
    assert all(layer.training for layer in net.modules())
    assert not any(layer._forward_pre_hooks for layer in net.modules())


def test_criteria_work_in_low_precision_and_without_gradients(net, split):
    low = copy.deepcopy(net).bfloat16().eval()
    rounded = Split(split.x.bfloat16(), split.y)
    with torch.no_grad():
        for criterion in (criteria.taylor(rounded), criteria.oracle(rounded)):
            assert all(
                scores.isfinite().all() for scores in criterion(low, groups_of(low)).values()
            )


def test_a_group_that_cannot_be_pruned_is_refused(net, split):
    groups = channel_groups(net, SHAPE)
    for criterion in (criteria.taylor(split), criteria.oracle(split)):
        with pytest.raises(LabError, match="channels of 9 cannot be removed"):
            criterion(net, groups)


def test_less_than_one_channel_at_once_is_refused(split):
    with pytest.raises(LabError, match="0 channels at once"):
        criteria.oracle(split, at_once=0)


@pytest.mark.parametrize("criterion", [criteria.taylor, criteria.oracle])
def test_scores_of_no_images_are_refused(split, criterion):
    with pytest.raises(LabError, match="no images"):
        criterion(split.take(0))
