"""Tables of candidates against the networks that they make."""

import pandas as pd
import pytest
import torch
from made_rules import toy_images, toy_network
from torch import nn

from labsupport.core.errors import LabError
from labsupport.methods.decomposition import (
    CP,
    SVD,
    Tucker,
    candidates,
    decompose,
    in_shares,
    options,
)
from labsupport.methods.decomposition.candidate_table import COLUMNS
from labsupport.network.cost import cost, parameter_count
from labsupport.network.fingerprint import fingerprint

OPTIONS = {"0": [Tucker(1, 2), CP(2)], "4": [SVD(2), SVD(4), SVD(8)], "7": [SVD(1)]}


def images(n=20):
    return toy_images(n, 0).x


def one_each(layers, _x):
    return dict.fromkeys(layers, 1.0)


def test_one_image_does_not_vary():
    with pytest.raises(LabError, match="judged by 1 images"):
        candidates(toy_network(), images(1), OPTIONS)


def test_a_layer_and_its_decompositions_are_clocked_together():
    calls = []

    def seconds(layers, x):
        calls.append([type(layer) for layer in layers.values()])
        return dict.fromkeys(layers, 1.0)

    candidates(toy_network(), images(), {"4": OPTIONS["4"]}, seconds)
    assert calls == [[nn.Linear, *[nn.Sequential] * 3]]


def test_ranks_that_cannot_be_together_are_no_options():
    flat = nn.Conv2d(128, 16, 3)
    pairs = [how for how in options(flat) if isinstance(how, Tucker)]
    assert pairs
    assert all(how.inputs <= 9 * how.outputs for how in pairs)
    assert len(pairs) < len([how for how in options(nn.Conv2d(16, 16, 3)) if type(how) is Tucker])


def test_rows_are_the_layers_as_they_are_and_their_options():
    net = toy_network()
    before = fingerprint(net)
    table = candidates(net, images(), OPTIONS)
    assert fingerprint(net) == before
    assert list(table.columns) == COLUMNS
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
    table = candidates(net, torch.randn(5, 8), {"0": [SVD(2)]}, seconds=one_each)
    assert table["macs"].tolist() == [2 * 64, 2 * 32]
    assert table["seconds"].tolist() == [2, 2]


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


def test_shares_are_those_of_the_layer():
    rows = [
        *[("a", None, 0.0, 9, 100, 2.0), ("a", SVD(2), 0.1, 9, 50, 1.8)],
        *[("b", None, 0.0, 9, 10, 1.0), ("b", Tucker(1, 1), 0.2, 9, 6, 0.5)],
    ]
    shown = in_shares(pd.DataFrame(rows, columns=COLUMNS))
    assert shown["layer"].tolist() == ["a", "b"]
    assert shown["kind"].tolist() == ["SVD", "Tucker"]
    assert shown["share_of_macs"].tolist() == [0.5, 0.6]
    assert shown["share_of_time_clocked"].tolist() == [0.9, 0.5]
    assert shown["excess_clocked"].tolist() == pytest.approx([1.8, 5 / 6])
