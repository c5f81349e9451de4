import math
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from labsupport.core.errors import LabError
from labsupport.data import Split
from labsupport.methods.early_exit.branchy import attach_branches, entropy
from labsupport.methods.early_exit.branchy_search import (
    ExitAnswers,
    exit_answers,
    search_thresholds,
)


class Pick(nn.Module):
    """Gives back some columns of its input: made logits that come with the image."""

    def __init__(self, start):
        super().__init__()
        self.start = start

    def forward(self, x):
        return x[:, self.start : self.start + 2]


def made(rows, branches):
    """A network and a split in which each image brings all its logits along.

    A row is a logit margin per exit, whose sign is its answer, and a label.
    """
    margins = torch.tensor([row[0] for row in rows], dtype=torch.float32)
    logits = torch.stack([margins, -margins], 2).flatten(1)
    trunk = nn.Sequential(*[nn.Identity()] * branches, Pick(2 * branches))
    net = attach_branches(trunk, {i + 1: Pick(2 * i) for i in range(branches)})
    return net.eval(), Split(logits, torch.tensor([row[1] for row in rows]))


def tables(branches, most):
    # Few distinct margins, so that ties are common.
    margin = st.integers(-3, 3).map(lambda value: value / 2)
    row = st.tuples(
        st.lists(margin, min_size=branches + 1, max_size=branches + 1), st.integers(0, 1)
    )
    return st.lists(row, min_size=1, max_size=most)


def outcome(net, split, thresholds):
    """Exits and accuracy when the network itself runs with these thresholds."""
    logits, exits = net.with_thresholds(thresholds).exits(split.x)
    return exits, (logits.argmax(1) == split.y).double().mean().item()


@settings(max_examples=60)
@given(tables(1, 8), st.sampled_from([0.0, 0.5, 0.75, 0.9, 1.0]))
def test_with_one_branch_no_set_of_images_by_entropy_is_cheaper(rows, floor):
    net, split = made(rows, 1)
    thresholds, _ = search_thresholds(net, split, floor)
    exits, accuracy = outcome(net, split, thresholds)
    tried = [0.0, *(entropy(split.x[:, :2]) + 1e-6).unique().tolist()]
    shares = [
        (seen == 0).double().mean().item()
        for seen, right in (outcome(net, split, (t,)) for t in tried)
        if right >= floor
    ]
    if shares:
        assert accuracy >= floor
        assert (exits == 0).double().mean().item() == max(shares)
    else:
        assert thresholds == (0.0,)


@settings(max_examples=40)
@given(tables(2, 6), st.sampled_from([0.0, 0.6, 0.8, 1.0]))
def test_with_two_branches_the_cheapest_of_all_choices_is_found(rows, floor):
    net, split = made(rows, 2)
    costs = (1.0, 1.7, 4.0)
    thresholds, _ = search_thresholds(net, split, floor, costs, grid=50)
    exits, _ = outcome(net, split, thresholds)
    entropies = sorted({0.0, *(e.item() + 1e-6 for e in entropy(split.x.view(-1, 2)))})
    allowed = []
    for first in entropies:
        for second in entropies:
            seen, right = outcome(net, split, (first, second))
            if right >= floor:
                allowed.append(torch.tensor(costs)[seen].double().mean().item())
    if allowed:
        assert torch.tensor(costs)[exits].double().mean().item() == pytest.approx(min(allowed))
    else:
        assert thresholds == (0.0, 0.0)


@settings(max_examples=40)
@given(tables(2, 8))
def test_the_table_says_what_the_network_then_does(rows):
    net, split = made(rows, 2)
    _, table = search_thresholds(net, split, 0.0, costs=(1, 2, 5))
    trunk = net(split.x).argmax(1)
    for row in table.to_dict("records"):
        thresholds = (row["threshold_1"], row["threshold_2"])
        logits, exits = net.with_thresholds(thresholds).exits(split.x)
        shares = [(exits == index).double().mean().item() for index in range(3)]
        assert [row[f"share_{i}"] for i in (1, 2, 3)] == pytest.approx(shares)
        assert row["accuracy"] == pytest.approx(
            (logits.argmax(1) == split.y).double().mean().item()
        )
        assert row["agreement"] == pytest.approx((logits.argmax(1) == trunk).double().mean().item())
        assert row["cost"] == pytest.approx(np.dot(shares, (1, 2, 5)))
    assert table["cost"].is_monotonic_increasing
    assert table["accuracy"].is_monotonic_increasing


def test_images_of_equal_entropy_leave_together():
    # Two are equally sure, one of them wrong: a threshold cannot let only the right one leave.
    net, split = made([((2.0, 1.0), 0), ((2.0, -1.0), 1), ((0.5, 1.0), 0)], 1)
    thresholds, table = search_thresholds(net, split, floor=1.0)
    assert thresholds == (0.0,)
    assert table["share_1"].tolist() == [1.0, 0.0]


def test_a_floor_that_nothing_reaches_lets_none_leave():
    net, split = made([((2.0, 1.0), 0), ((1.0, 1.0), 1)], 1)
    assert search_thresholds(net, split, floor=0.6)[0] == (0.0,)


@settings(max_examples=40)
@given(tables(2, 6))
def test_the_front_is_what_no_choice_beats(rows):
    net, split = made(rows, 2)
    costs = torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64)
    _, table = search_thresholds(net, split, 0.0, costs.tolist(), grid=50)
    steps = [0.0, *(entropy(split.x.view(-1, 2)) + 1e-6).unique().tolist()]
    tried = [outcome(net, split, pair) for pair in product(steps, steps)]
    choices = {(round(costs[exits].mean().item(), 9), accuracy) for exits, accuracy in tried}
    front = [
        (cost, right)
        for cost, right in sorted(choices)
        if not any((c, r) != (cost, right) and c <= cost and r >= right for c, r in choices)
    ]
    found = table[["cost", "accuracy"]].itertuples(index=False, name=None)
    assert list(found) == [pytest.approx(choice) for choice in front]


def test_an_image_that_is_no_number_stays_whatever_the_threshold():
    seen = ExitAnswers(
        np.array([[np.nan], [0.1]], np.float32), np.array([[0, 1], [0, 1]]), np.array([1, 0])
    )
    assert seen.left_at((math.inf,)).tolist() == [1, 0]
    rows = [((math.nan, 1.0), 0), ((math.nan, 1.0), 0)]
    assert search_thresholds(*made(rows, 1), floor=1.0)[0] == (0.0,)


@pytest.mark.parametrize("training", [True, False])
def test_searching_leaves_mode_and_thresholds_as_they_were(training):
    net, split = made([((2.0, 1.0), 0), ((1.0, 1.0), 0)], 1)
    net.train(training)
    thresholds, _ = search_thresholds(net, split, floor=1.0)
    assert thresholds > (0.0,)
    assert net.training is training
    assert net.thresholds == (0.0,)


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_is_restored_where_an_image_does_not_fit(training):
    net, _ = made([((2.0, 1.0), 0)], 1)
    net.train(training)
    with pytest.raises(IndexError):
        exit_answers(net, Split(torch.zeros(2), torch.zeros(2)))
    assert net.training is training


def test_the_answers_of_all_batches_come_in_order():
    rows = [((float(i + 1), 1.0), i % 2) for i in range(7)]
    net, split = made(rows, 1)
    seen = exit_answers(net, split, batch_size=3)
    np.testing.assert_array_equal(seen.entropies, entropy(split.x[:, :2])[:, None].numpy())
    assert seen.labels.tolist() == split.y.tolist()


@pytest.mark.parametrize("wrong", [{"floor": 1.1}, {"floor": -0.1}, {"costs": (1,)}])
def test_a_search_that_cannot_be_is_explained(wrong):
    net, split = made([((2.0, 1.0), 0)], 1)
    with pytest.raises(LabError):
        search_thresholds(net, split, **{"floor": 0.9, **wrong})
    with pytest.raises(LabError, match="no image"):
        search_thresholds(net, split.take(0), 0.9)
