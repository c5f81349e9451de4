"""The knapsack against all choices tried one by one, and choices by the clock."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
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
    options,
    remaining,
    taken,
)
from labsupport.methods.decomposition import choice as choice_module
from labsupport.methods.decomposition.candidate_table import COLUMNS
from labsupport.network.cost import cost, parameter_count

OPTIONS = {"0": [Tucker(1, 2), CP(2)], "4": [SVD(2), SVD(4), SVD(8)], "7": [SVD(1)]}


def images(n=20):
    return toy_images(n, 0).x


def test_seconds_are_those_that_are_given():
    def seconds(layers, x):
        return {name: parameter_count(layer) * len(x) for name, layer in layers.items()}

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
    return pd.DataFrame(rows, columns=COLUMNS)


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
    with pytest.raises(LabError, match="no finite seconds for each candidate"):
        choose(table, 1.0, by="seconds")
    with pytest.raises(LabError, match="no finite error for each candidate"):
        choose(table.assign(error=math.nan), 1000.0)
    for times in (0, -1, math.nan, math.inf):
        with pytest.raises(LabError, match="times less time"):
            choose_timed(table, 1000.0, times)
    for chosen in ({"4": SVD(3)}, {"5": SVD(2)}):
        with pytest.raises(LabError, match="no such choice for layer"):
            taken(table, chosen)
    for wrong in ({"budget": 1.0, "by": "mac"}, {"budget": float("nan")}):
        with pytest.raises(LabError, match="give a number of parameters, macs, seconds"):
            choose(table, **wrong)
    with pytest.raises(LabError, match=r"take at least .* macs, more than 10"):
        choose(table, 10)


def clocked_table(seconds):
    """Two layers of 100 MACs and a second each, with two options."""
    rows = [
        *[("a", None, 0.0, 9, 100, 1.0), ("a", SVD(2), 0.1, 9, 50, seconds[0])],
        *[("a", SVD(1), 0.5, 9, 20, seconds[1]), ("b", None, 0.0, 9, 100, 1.0)],
        *[("b", SVD(2), 0.2, 9, 60, seconds[2]), ("b", SVD(1), 0.6, 9, 30, seconds[3])],
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


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


def test_what_is_slower_than_its_layer_is_not_chosen_where_something_else_is_small_enough():
    rows = [("a", None, 0.0, 9, 100, 1.0), ("a", SVD(1), 0.5, 9, 20, 0.8)]
    rows += [("a", SVD(8), 0.1, 9, 90, 0.5), ("a", SVD(4), 0.05, 9, 50, 1.5)]
    table = pd.DataFrame(rows, columns=COLUMNS)
    assert choose(table, 50) == {"a": SVD(4)}
    assert choose_timed(table, 50) == {"a": SVD(1)}


def test_a_network_has_so_many_times_fewer_macs():
    net = toy_network()
    table = candidates(net, images(), {"0": options(net[0]), "4": options(net[4])})
    whole = cost(net, (1, 8, 8)).fp_macs
    chosen = choose(table, remaining(table, whole, 1.5))
    made = cost(decompose(net, chosen), (1, 8, 8)).fp_macs
    assert made <= whole / 1.5
    assert whole - made == taken(table, {}) - taken(table, chosen)
