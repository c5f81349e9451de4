"""Exits, then pruning, then masks, and the other way round: each takes what the other gives."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import parametrize

from labsupport.core.errors import LabError
from labsupport.data import Batch, Split
from labsupport.methods.early_exit import (
    BranchedNetwork,
    BranchyNet,
    JointExits,
    RulesRecipe,
    attach_branches,
    fit_rules,
    side_branch,
)
from labsupport.methods.pruning import criteria, magnitude, prune, sparsity, without_masks
from labsupport.methods.surgery import channel_groups, group_of, mask_channels, prunable, widths
from labsupport.methods.surgery import remove_channels as without
from labsupport.network.cutting import cut_points

SHAPE = (1, 8, 8)


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.first, self.norm = nn.Conv2d(width, 5, 3, padding=1), nn.BatchNorm2d(5)
        self.second, self.relu = nn.Conv2d(5, width, 3, padding=1), nn.ReLU(inplace=True)

    def forward(self, x):
        return self.relu(x + self.second(self.relu(self.norm(self.first(x)))))


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.blocks = nn.Conv2d(1, 6, 3), nn.Sequential(Block(6), Block(6))
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


def chain():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(24, 8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 3),
    )  # fmt: skip


NETS = {"chain": (chain, (2, 5)), "residual": (Residual, ("stem", "blocks.0"))}


@pytest.fixture(params=NETS)
def branchy(request):
    torch.manual_seed(0)
    make, places = NETS[request.param]
    model = make().train()
    shapes = cut_points(model, SHAPE)
    names = {2: "1", 5: "4"}
    branches = {
        place: side_branch(shapes[names.get(place, place)], 3, channels=3, hidden=7)
        for place in reversed(places)
    }
    net = attach_branches(model, branches)
    assert net.layers == places
    return net.with_thresholds((0.5, 0.7))


@pytest.fixture
def split():
    x = torch.randn(24, *SHAPE, generator=torch.Generator().manual_seed(1))
    return Split(x, (x.mean((1, 2, 3)) > 0).long())


def step(net, split):
    """One step of training, which every exit takes part in."""
    net.train()
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    loss = JointExits((1.0,) * (len(net.layers) + 1))(net, Batch(split.x, split.y)).loss
    loss.backward()
    optimizer.step()
    return net


def halves(net):
    return {g.name: (g.channels + 1) // 2 for g in prunable(channel_groups(net, SHAPE))}


def test_a_branchy_network_is_pruned_with_its_branches(branchy, split):
    before = copy.deepcopy(branchy.state_dict())
    groups = prunable(channel_groups(branchy, SHAPE))
    removed = {group.name: range(0, group.channels, 2) for group in groups}
    smaller = without(branchy, SHAPE, removed).eval()
    masked = mask_channels(branchy, SHAPE, removed).eval()
    assert isinstance(smaller, BranchyNet)
    assert (smaller.layers, smaller.thresholds) == (branchy.layers, branchy.thresholds)
    pairs = zip(smaller.all_logits(split.x), masked.all_logits(split.x), strict=True)
    for one, other in pairs:
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(smaller.exits(split.x), masked.exits(split.x))
    assert all(torch.equal(before[name], now) for name, now in branchy.state_dict().items())
    # The trunk's channels are read by a branch and by the next segment alike.
    shared = next(g for g in groups if g.name.startswith("segments.0."))
    assert {member.layer.split(".")[0] for member in shared.consumers} == {"segments", "branches"}


@pytest.mark.parametrize("criterion", ["l2", "taylor", "oracle"])
def test_exits_then_pruning_then_masks_then_training(branchy, split, criterion):
    scored_by = {
        "l2": criteria.l2, "taylor": criteria.taylor(split), "oracle": criteria.oracle(split),
    }[criterion]  # fmt: skip
    to = halves(branchy)
    smaller = prune(branchy, SHAPE, to, scored_by)
    assert widths(smaller, SHAPE) == to
    sparse = step(magnitude(smaller, 0.5), split)
    assert sparsity(sparse) == pytest.approx(0.5, abs=0.01)
    again = prune(without_masks(sparse), SHAPE, halves(smaller), criteria.l1)
    assert isinstance(again, BranchyNet)
    assert again.eval()(split.x).shape == (24, 3)
    assert parametrize.is_parametrized(sparse.branches[0][0])
    step(again, split)


@pytest.mark.parametrize("name", NETS)
def test_a_pruned_and_masked_network_gets_exits(name, split):
    torch.manual_seed(0)
    make, places = NETS[name]
    smaller = prune(make(), SHAPE, halves(make()), criteria.l2)
    sparse = magnitude(smaller, 0.3)
    with torch.no_grad():
        features = {2: 2, 5: 12, "stem": 3, "blocks.0": 3}
        heads = {place: nn.Sequential(nn.Flatten(), nn.LazyLinear(3)) for place in places}
        net = attach_branches(sparse, heads)
        trunk = sparse.eval()(split.x)
        torch.testing.assert_close(net.eval().all_logits(split.x)[-1], trunk)
    assert [net.branches[i][1].in_features % features[p] for i, p in enumerate(places)] == [0, 0]
    before = sparsity(net)
    assert sparsity(step(net, split)) == pytest.approx(before)


@pytest.mark.parametrize(("name", "place"), [("chain", 2), ("residual", "blocks.0")])
def test_rules_on_any_network_and_pruning_behind_them(name, place, split):
    torch.manual_seed(0)
    model = NETS[name][0]().eval()
    rules = fit_rules(model, place, split, RulesRecipe(1, 8, pool=1, shift=0))
    assert rules.origin.layer == place
    net = BranchedNetwork(model, place, rules.with_margins(torch.full((3,), 0.6).double()))
    groups = channel_groups(net, SHAPE)
    stem = next(g for g in groups if g.name.startswith("stem"))
    with pytest.raises(LabError, match=r"channels of stem\.\w+ cannot .* rules \(Rules\)"):
        group_of(stem.name, groups)
    free = prunable(groups)
    assert free
    removed = {group.name: [0] for group in free}
    smaller, masked = (f(net, SHAPE, removed) for f in (without, mask_channels))
    assert isinstance(smaller, BranchedNetwork)
    torch.testing.assert_close(smaller(split.x), masked(split.x))
    torch.testing.assert_close(smaller.exits(split.x), masked.exits(split.x))


def test_the_score_of_a_channel_counts_all_exits(branchy, split):
    group = prunable(channel_groups(branchy, SHAPE))[0]
    branchy.eval()

    def loss(net):
        return sum(cross_entropy(logits, split.y) for logits in net.all_logits(split.x))

    changes = [
        (loss(mask_channels(branchy, SHAPE, {group.name: [c]})) - loss(branchy)).detach()
        for c in range(group.channels)
    ]
    scores = criteria.oracle(split)(branchy, [group])[group.name]
    torch.testing.assert_close(scores.float(), torch.stack(changes), rtol=1e-3, atol=1e-5)
