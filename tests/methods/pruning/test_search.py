import pandas as pd
import pytest
import torch
from sklearn.model_selection import ParameterGrid
from torch import nn

from labsupport.core.errors import LabError
from labsupport.methods.pruning import criteria
from labsupport.methods.pruning.search import Stage, search
from labsupport.methods.surgery import widths
from labsupport.training import Trained

SHAPE = (1, 6, 6)


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 3)
    )


def cost(shape):
    return 100 * shape["0"] + shape["3"]


def width_of(model):
    """Grows with the cost, so that the first that is good enough is the cheapest."""
    return cost(widths(model, SHAPE)) / 1000


def trained(model, seconds=0.0):
    return Trained(model, pd.DataFrame(), seconds, seed=0)


def run(net, candidates, *floors, accuracy=width_of):
    shapes = []

    def retrain(smaller):
        shapes.append(tuple(widths(smaller, SHAPE).values()))
        return trained(smaller, len(shapes))

    stages = [Stage(retrain, floor) for floor in floors]
    return search(net, SHAPE, candidates, criteria.l2, cost, stages, accuracy), shapes


@pytest.mark.parametrize("floor", [0.0, 0.101, 0.2, 0.305, 0.408])
def test_it_finds_the_cheapest_by_trying_all(net, floor):
    candidates = ParameterGrid({"0": [3, 1, 4, 2], "3": [8, 1, 5]})
    found, _ = run(net, candidates, floor)
    good = [shape for shape in candidates if cost(shape) / 1000 >= floor]
    assert found.widths == min(good, key=cost)
    assert widths(found.model, SHAPE) == found.widths
    assert found.table["cost"].is_monotonic_increasing
    assert found.table["chosen"].tolist() == [False] * (len(found.table) - 1) + [True]
    assert len(found.table) == sum(cost(shape) <= cost(found.widths) for shape in candidates)


def test_no_shape_that_will_do_is_said_and_not_papered_over(net):
    found, _ = run(net, ParameterGrid({"0": [1, 2], "3": [1]}), 0.9)
    assert found.model is None
    assert found.widths is None
    assert not found.table["chosen"].any()
    assert len(found.table) == 2


def test_a_shape_below_an_early_floor_gets_no_more_training(net):
    found, shapes = run(net, ParameterGrid({"0": [1, 2, 3], "3": [1]}), 0.2, 0.3)
    assert shapes == [(1, 1), (2, 1), (2, 1), (3, 1), (3, 1)]
    assert found.table["stages"].tolist() == [1, 2, 2]
    assert found.table["seconds"].tolist() == [1, 2 + 3, 4 + 5]  # those that training says
    assert found.widths == {"0": 3, "3": 1}


def test_reaching_the_last_floor_early_is_not_enough(net):
    values = iter([0.95, 0.1, 0.95, 0.95])
    found, _ = run(
        net, ParameterGrid({"0": [1, 2], "3": [1]}), 0.2, 0.9, accuracy=lambda _: next(values)
    )
    assert found.widths == {"0": 2, "3": 1}


def test_every_shape_starts_from_the_network_itself(net):
    before = net[0].weight.clone()

    def spoil(smaller):
        with torch.no_grad():
            smaller[0].weight.zero_()
        return trained(smaller)

    seen = []
    stage = Stage(lambda m: (seen.append(m[0].weight.abs().sum().item()), spoil(m))[1], 1.0)
    search(
        net,
        SHAPE,
        ParameterGrid({"0": [1, 2], "3": [1]}),
        criteria.l2,
        cost,
        [stage],
        lambda _: 0.0,
    )
    assert len(seen) == 2
    assert all(total > 0 for total in seen)
    assert torch.equal(net[0].weight, before)


@pytest.mark.parametrize(("candidates", "floors"), [([], (0.5,)), ([{"0": 1}], ())])
def test_nothing_to_search_in_is_refused(net, candidates, floors):
    with pytest.raises(LabError, match="nothing to search"):
        search(
            net, SHAPE, candidates, criteria.l2, lambda _: 0.0,
            [Stage(trained, floor) for floor in floors], width_of,
        )  # fmt: skip


def test_a_candidate_that_cannot_be_is_refused_by_name(net):
    with pytest.raises(LabError, match="0 has 4 channels, not 9"):
        run(net, [{"0": 9, "3": 1}], 0.5)


def test_filters_are_scored_once(net):
    calls = []

    def counting(model, groups):
        calls.append([group.name for group in groups])
        return criteria.l2(model, groups)

    search(
        net, SHAPE, ParameterGrid({"0": [1, 2], "3": [1, 2]}), counting, cost,
        [Stage(trained, 1.0)], width_of,
    )  # fmt: skip
    assert [sorted(names) for names in calls] == [["0", "3"]]
