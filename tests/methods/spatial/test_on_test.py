"""Searched masks on other images, against the search and the judgment by themselves."""

import pytest
from made_spatial import SHAPE, Residual, images, made
from torch import nn

from labsupport.data import Split
from labsupport.methods.spatial import (
    Granularity,
    Mask,
    beside_greedy,
    disabled,
    fast_front,
    fast_search,
    front_on_test,
    fronts_on_test,
    greedy_search,
    judge,
    on_test,
    savings,
    spatialize,
)
from labsupport.training import evaluate, predict


def own_answers(network, seed):
    split = images(40, seed)
    with disabled(network):
        return Split(split.x, predict(network, split).argmax(1))


def test_a_row_for_each_eps_says_what_the_search_saw_and_what_others_show():
    network = spatialize(made(Residual), SHAPE)
    tuned, test = own_answers(network, 3), own_answers(network, 4)
    own = 1 - evaluate(network, tuned).accuracy
    epsilons = {"none": 0.0, "wide": 0.2, "own": None}
    found, table = front_on_test(network, tuned, test, epsilons, Granularity.FILTER, tries=3)
    alone = fast_front(network, tuned, [0.0, 0.2, own], Granularity.FILTER, tries=3)
    assert list(found) == list(table["eps"]) == list(epsilons)
    assert table["eps_points"].tolist() == pytest.approx([0, 20, 100 * own])
    assert table["passes"].tolist() == [len(alone[0.0].passes)] * 3
    for row, eps in zip(table.itertuples(), (0.0, 0.2, own), strict=True):
        one, judged = alone[eps], judge(found[row.eps], test)
        assert row.lost_in_search == pytest.approx(100 * one.trial.loss)
        assert row.saved == pytest.approx(judged.saved)
        assert row.points_lost == pytest.approx(100 * (1 - judged.accuracy))
        left = (
            savings(network, test).all_macs - judged.saved * savings(network, test).convolution_macs
        )
        assert row.macs == pytest.approx(left)
        in_search = judge(found[row.eps], tuned).saved
        assert row.saved_in_search == pytest.approx(in_search)


def test_several_fronts_stand_in_one_table_below_the_own_masks():
    network = spatialize(made(Residual), SHAPE)
    tuned, test = own_answers(network, 3), own_answers(network, 4)
    modes = {Granularity.FILTER: {"wide": 0.2}, Granularity.LAYER: {"none": 0.0, "wide": 0.2}}
    setups = [(mode, 2) for mode in modes]
    masks, table = fronts_on_test({2: network}, setups, tuned, test, modes, tries=3)
    assert table[["mode", "eps"]].to_numpy().tolist() == [
        *(["own", "own"], ["filter", "wide"]),
        *(["layer", "none"], ["layer", "wide"]),
    ]
    assert table["saved"][0] == pytest.approx(on_test(network, test)["saved"])
    for mode, eps in modes.items():
        found, alone = front_on_test(network, tuned, test, eps, mode, tries=3)
        rows = table[table["mode"] == mode.name.lower()]
        assert rows["saved"].tolist() == pytest.approx(alone["saved"].tolist())
        for name, one in found.items():
            assert judge(masks[mode, 2][name], test) == judge(one, test)


def test_what_is_saved_without_a_look_is_counted_apart():
    model = nn.Sequential(nn.Conv2d(SHAPE[0], 2, 3, padding=1), nn.ReLU(), nn.Flatten())
    model.append(nn.Linear(2 * SHAPE[1] * SHAPE[2], 4))
    corner = spatialize(model.double(), SHAPE, Mask.uniform(3, 2**8))  # ones at the bottom right
    height, width = SHAPE[1:]
    blind = height * width - (height - height % 3) * (width - width % 3)
    judged = on_test(corner, images(6, 1))
    assert judged["always"] == pytest.approx(blind / (height * width))
    assert judged["always"] <= judged["saved"]
    assert on_test(spatialize(model, SHAPE, Mask.uniform(2, 1)), images(6, 1))["always"] == 0


def test_both_searches_stand_side_by_side():
    network = spatialize(made(Residual), SHAPE, convolutions=["blocks.0.conv1"])
    split, mode = own_answers(network, 3), Granularity.PATCH
    row = beside_greedy(network, split, 0.1, mode, gt=2, tries=3)
    greedy, fast = (
        greedy_search(network, split, 0.1, mode, gt=2),
        fast_search(network, split, 0.1, mode, tries=3),
    )
    macs = savings(network, split).convolution_macs
    assert row == {
        "mode": "patch", "layers": 1, "gt": 2, "eps_points": 10,
        "greedy_saved": greedy.trial.saved_macs / macs, "greedy_passes": len(greedy.passes),
        "fast_saved": fast.trial.saved_macs / macs, "fast_passes": len(fast.passes),
    }  # fmt: skip
