"""Tables of candidates, and the knapsack against all choices tried one by one."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_nets import Residual
from made_rules import toy_images, toy_network
from torch import nn

from labsupport.core.errors import LabError
from labsupport.methods.decomposition import (
    CP,
    SVD,
    Tucker,
    candidates,
    choose,
    choose_timed,
    decompose,
    in_shares,
    options,
    remaining,
    taken,
)
from labsupport.methods.decomposition import choice as choice_module
from labsupport.network.cost import cost, parameter_count
from labsupport.network.fingerprint import fingerprint

OPTIONS = {"0": [Tucker(1, 2), CP(2)], "4": [SVD(2), SVD(4), SVD(8)], "7": [SVD(1)]}


def images(n=20):
    return toy_images(n, 0).x


def test_rows_are_the_layers_as_they_are_and_their_options():
    net = toy_network()
    before = fingerprint(net)
    table = candidates(net, images(), OPTIONS)
    assert fingerprint(net) == before
    assert list(table.columns) == choice_module.COLUMNS
    assert table["layer"].tolist() == ["0"] * 3 + ["4"] * 4 + ["7"] * 2
    as_it_is = table[table["decomposition"].isna()]
    assert as_it_is["error"].tolist() == [0, 0, 0]
    assert as_it_is["macs"].sum() == cost(net, (1, 8, 8)).fp_macs
    assert as_it_is["parameters"].sum() == parameter_count(net)
    assert table["seconds"].isna().all()


def test_macs_and_errors_are_those_of_the_decomposed_network():
    net, x = toy_network().eval(), images()
    table = candidates(net, x, {"4": [SVD(3)]})
    row = table.iloc[1]
    made = decompose(net, {"4": SVD(3)})
    saved = table["macs"][0] - row["macs"]
    assert cost(net, (1, 8, 8)).fp_macs - cost(made, (1, 8, 8)).fp_macs == saved
    with torch.no_grad():
        inside = net[:4](x)
        expected, found = net[4](inside), made[4](inside)
    variation = (expected - expected.mean(0)).square().sum()
    assert row["error"] == pytest.approx(float((found - expected).square().sum() / variation))


def test_errors_fall_with_the_rank_and_end_at_none():
    table = candidates(toy_network(), images(), {"4": [SVD(r) for r in (1, 4, 8, 12)]})
    errors = table["error"][1:].tolist()
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-8


def test_a_layer_that_is_called_twice_costs_twice():
    layer = nn.Linear(8, 8)
    net = nn.Sequential(layer, nn.ReLU(), layer)
    table = candidates(net, torch.randn(5, 8), {"0": [SVD(2)]}, seconds=lambda layer, x: 1.0)
    assert table["macs"].tolist() == [2 * 64, 2 * 32]
    assert table["seconds"].tolist() == [2, 2]


def test_seconds_are_those_that_are_given():
    def seconds(layer, x):
        return parameter_count(layer) * len(x)

    table = candidates(toy_network(), images(7), OPTIONS, seconds)
    assert table["seconds"].tolist() == (7 * table["parameters"]).tolist()
    clocked = choose(table, 7 * 300, by="seconds")
    assert clocked == choose(table, 300, by="parameters")


def test_a_choice_goes_straight_to_decompose_and_keeps_the_budget():
    net = Residual()
    names = [n for n, m in net.named_modules() if isinstance(m, nn.Conv2d) and n != "stem"]
    options = {name: [Tucker(r, r) for r in (1, 2, 3, 4)] for name in names}
    table = candidates(net, images(), options)
    whole = table[table["decomposition"].isna()]["macs"].sum()
    chosen = choose(table, whole / 2)
    made = decompose(net, chosen)
    saved = cost(net, (1, 8, 8)).fp_macs - cost(made, (1, 8, 8)).fp_macs
    assert saved >= whole / 2
    assert choose(table, whole) == {}


def brute_force(table, budget):
    """The least summed error of all choices within a budget; infinite for none."""
    layers = [rows for _, rows in table.groupby("layer")]
    picks = itertools.product(*(zip(rows["macs"], rows["error"], strict=True) for rows in layers))
    within = [sum(e for _, e in pick) for pick in picks if sum(m for m, _ in pick) <= budget]
    return min(within, default=np.inf)


def made_table(layers):
    rows = [
        (f"layer{i}", SVD(k + 1), error, 1, macs, 1.0)
        for i, options in enumerate(layers)
        for k, (macs, error) in enumerate(options)
    ]
    return pd.DataFrame(rows, columns=choice_module.COLUMNS)


option = st.tuples(st.integers(1, 30), st.integers(0, 40))


@settings(max_examples=60)
@given(
    st.lists(st.lists(option, min_size=1, max_size=5), min_size=1, max_size=4), st.integers(1, 80)
)
def test_the_knapsack_finds_what_trying_all_finds(layers, budget):
    table = made_table(layers)
    best = brute_force(table, budget)
    if best == np.inf:
        with pytest.raises(LabError, match="take at least"):
            choose(table, budget)
        return
    chosen = choose(table, budget)
    rows = [
        table[(table["layer"] == layer) & (table["decomposition"] == how)].iloc[0]
        for layer, how in chosen.items()
    ]
    assert sum(row["macs"] for row in rows) <= budget
    assert sum(row["error"] for row in rows) == best


def test_with_few_choices_carried_on_the_budget_is_kept(monkeypatch):
    monkeypatch.setattr(choice_module, "MOST", 8)
    draw = np.random.default_rng(0)
    layers = [[(m, 1 / m) for m in draw.uniform(1, 9, 6)] for _ in range(8)]
    table = made_table(layers)
    for budget in (table.groupby("layer")["macs"].min().sum() * 1.0001, 30, 60):
        chosen = choose(table, budget)
        taken = [
            table[(table["layer"] == layer) & (table["decomposition"] == how)]["macs"].item()
            for layer, how in chosen.items()
        ]
        assert sum(taken) <= budget * (1 + 1e-9)


def test_what_cannot_be_chosen_is_refused():
    table = candidates(toy_network(), images(), OPTIONS)
    with pytest.raises(LabError, match="no seconds for each candidate"):
        choose(table, 1.0, by="seconds")
    for wrong in ({"budget": 1.0, "by": "mac"}, {"budget": float("nan")}):
        with pytest.raises(LabError, match="give a number of parameters, macs, seconds"):
            choose(table, **wrong)
    with pytest.raises(LabError, match=r"take at least .* macs, more than 10"):
        choose(table, 10)


def test_a_layer_that_no_image_reaches_is_refused_by_name():
    net = nn.Sequential(nn.Linear(4, 4))
    net.unused = nn.Linear(4, 4)
    net.forward = net[0].forward
    with pytest.raises(LabError, match="no image reaches layer unused"):
        candidates(net, torch.randn(3, 4), {"unused": [SVD(1)]})


@pytest.mark.parametrize(
    "layer",
    [
        nn.Linear(30, 12),
        nn.Conv2d(1, 8, 3),
        nn.Conv2d(12, 6, 3, groups=2),
        nn.Conv2d(12, 6, 1),
        nn.Conv2d(40, 1, 3),
        nn.Conv2d(6, 6, (1, 5)),
    ],
    ids=str,
)
def test_every_option_fits_its_layer(layer):
    given = options(layer)
    assert len(set(given)) == len(given) > 0
    x = (
        torch.randn(2, 30)
        if isinstance(layer, nn.Linear)
        else torch.randn(2, layer.in_channels, 7, 7)
    )
    for how in given:
        assert how(layer, "it")(x).shape == layer(x).shape


@pytest.mark.parametrize("layer", [nn.Conv2d(3, 24, 3, groups=3), nn.ReLU()], ids=str)
def test_what_is_best_left_as_it_is_has_no_options(layer):
    assert options(layer) == []


def clocked_table(seconds):
    """Two layers of 100 MACs and a second each, with two options."""
    rows = [
        *[("a", None, 0.0, 9, 100, 1.0), ("a", SVD(2), 0.1, 9, 50, seconds[0])],
        *[("a", SVD(1), 0.5, 9, 20, seconds[1]), ("b", None, 0.0, 9, 100, 1.0)],
        *[("b", SVD(2), 0.2, 9, 60, seconds[2]), ("b", SVD(1), 0.6, 9, 30, seconds[3])],
    ]
    return pd.DataFrame(rows, columns=choice_module.COLUMNS)


def test_time_is_lowered_until_the_macs_fit():
    table = clocked_table([1.2, 0.3, 0.5, 0.4])
    chosen = choose_timed(table, 110)
    assert chosen == {"a": SVD(1), "b": SVD(2)}
    assert choose(table, 110) == {"a": SVD(2), "b": SVD(2)}
    assert taken(table, chosen) == 80
    assert taken(table, chosen, "seconds") == pytest.approx(0.8)
    assert choose_timed(table, 200) == {}
    assert choose_timed(table, 200, 1.5) == {"a": SVD(1)}
    assert choose_timed(table, 200, 100) == {"a": SVD(1), "b": SVD(1)}


def test_where_decomposed_layers_are_slow_the_macs_decide():
    table = clocked_table([2.0, 2.0, 2.0, 2.0])
    assert choose_timed(table, 120) == choose(table, 120)
    with pytest.raises(LabError, match="raise the budget"):
        choose_timed(table, 10)


def test_a_network_has_so_many_times_fewer_macs():
    net = toy_network()
    table = candidates(net, images(), {"0": options(net[0]), "4": options(net[4])})
    whole = cost(net, (1, 8, 8)).fp_macs
    chosen = choose(table, remaining(table, whole, 1.5))
    made = cost(decompose(net, chosen), (1, 8, 8)).fp_macs
    assert made <= whole / 1.5
    assert whole - made == taken(table, {}) - taken(table, chosen)


def test_shares_are_those_of_the_layer():
    shown = in_shares(clocked_table([0.9, 0.3, 0.5, 0.4]))
    assert shown["layer"].tolist() == ["a", "a", "b", "b"]
    assert shown["kind"].tolist() == ["SVD"] * 4
    assert shown["share_of_macs"].tolist() == [0.5, 0.2, 0.6, 0.3]
    assert shown["share_of_time_clocked"].tolist() == [0.9, 0.3, 0.5, 0.4]
    assert shown["excess_clocked"].tolist() == pytest.approx([1.8, 1.5, 5 / 6, 4 / 3])
