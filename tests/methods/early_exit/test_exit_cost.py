"""A conditional network has no cost, only a mean over images: against counts by hand."""

import pytest
import torch
from made_rules import rules_by_chance, toy_images, toy_network
from torch import nn

from labsupport.core.errors import LabError
from labsupport.methods.early_exit import (
    NEVER,
    BranchedNetwork,
    attach_branches,
    side_branch,
)
from labsupport.models import build
from labsupport.network.cost import Cost, batch_cost, cost, layer_costs, mean_cost

SHAPE = (1, 8, 8)
MARGINS = ((NEVER,) * 3, (0.6, 0.8, NEVER), (0.6,) * 3)


@pytest.fixture(scope="module")
def images():
    part = toy_images(53, seed=0)
    part.x.data = part.x.double()  # no confidence lies within rounding of its margin
    return part


@pytest.fixture(scope="module")
def model():
    return toy_network().double()


@pytest.mark.parametrize("layer", [0, 2, 5])
@pytest.mark.parametrize("margins", MARGINS)
def test_every_image_pays_stem_and_rules_and_those_that_stay_the_rest(
    model, images, layer, margins
):
    rules = rules_by_chance(model, layer)
    rules = rules.with_margins(torch.tensor(margins, dtype=torch.float64))
    net = BranchedNetwork(model, layer, rules)
    left = net.exits(images.x)[1].double().mean().item()
    rest_shape = rules.origin.feature_shape
    rest = cost(nn.Sequential(*model[layer:]), rest_shape)
    rule = Cost(fp_macs=rules.macs, additions=3)
    expected = cost(model, SHAPE) + rule + rest * -left
    counted = mean_cost(net, images)
    assert vars(counted) == pytest.approx(vars(expected))
    # Image by image the rules take another way, a matrix and a vector.
    assert vars(mean_cost(net, images, batch_size=1)) == pytest.approx(vars(expected))


def test_some_images_leave_and_some_stay(model, images):
    rules = rules_by_chance(model, 2)
    rules = rules.with_margins(torch.tensor(MARGINS[1], dtype=torch.float64))
    left = BranchedNetwork(model, 2, rules).exits(images.x)[1]
    assert 0 < left.sum() < len(left)


@pytest.mark.parametrize("n", [1, 60])
def test_rules_that_never_fire_come_on_top_of_the_course_network(n):
    torch.manual_seed(0)
    model = build("rules_cnn", (1, 28, 28))
    rules = rules_by_chance(model, 2, (1, 28, 28), classes=10)
    net = BranchedNetwork(model, 2, rules)
    assert cost(model, (1, 28, 28)).fp_macs == 11_992_448
    assert batch_cost(net, torch.zeros(n, 1, 28, 28)).fp_macs == n * 12_208_768


@pytest.mark.parametrize("thresholds", [(0.0, 0.0), (9.0, 9.0), (0.9, 0.0), (0.7, 0.9), (0.0, 0.9)])
def test_a_branch_is_paid_where_it_may_let_one_leave(model, images, thresholds):
    torch.manual_seed(1)
    shapes = {2: (4, 6, 6), 4: (36,)}
    branches = {layer: side_branch(shape, 3).double() for layer, shape in shapes.items()}
    net = attach_branches(model, branches).with_thresholds(thresholds)
    where = net.exits(images.x)[1]
    trunk = layer_costs(model, SHAPE)["macs"].to_numpy()
    total = 0.0
    for i, (segment, threshold) in enumerate(zip((trunk[:2], trunk[2:4]), thresholds, strict=True)):
        layer = net.layers[i]
        reached = int((where >= i).sum())
        paid = cost(net.branches[i], shapes[layer]).fp_macs if threshold > 0 else 0
        total += reached * (segment.sum() + paid)
    total += int((where == 2).sum()) * trunk[4:].sum()
    for batch_size in (1, 20, 1000):
        assert mean_cost(net, images, batch_size).fp_macs == pytest.approx(total / len(images))


def test_the_cost_of_one_example_is_refused(model):
    branched = BranchedNetwork(model, 2, rules_by_chance(model, 2))
    branchy = attach_branches(model, {2: side_branch((4, 6, 6), 3).double()})
    for net, name in ((branched, "a BranchedNetwork"), (nn.Sequential(branchy), "0")):
        for count in (cost, layer_costs):
            with pytest.raises(LabError, match=f"what {name} costs depends.*mean_cost"):
                count(net, SHAPE)
