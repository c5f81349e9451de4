"""Networks and their bases: means over seeds, what is saved and gained, and methods by name."""

import math

import pandas as pd
import pytest

from labsupport.records.scorecard import Scorecard, as_frame
from labsupport.records.standings import against_base, figures_of_base, networks, of_methods

EMPTY = math.nan


def card(variant, seed=0, lab="00_first", dataset="mnist", method="trick", **figures):
    return Scorecard(lab, method, variant, dataset, "lab", seed, **figures)


def networks_of(*cards):
    """Scorecards as networks, with numbers as numbers, as they come from a file."""
    frame = as_frame(cards)
    texts = ["lab", "method", "variant", "dataset", "profile", "network", "base", "runtime"]
    kinds = {name: float for name in frame if name not in [*texts, "device"]}
    return networks(frame.astype(kinds))


def test_a_network_is_the_mean_of_its_seeds():
    cards = [card("net", seed, accuracy=0.8 + 0.1 * seed) for seed in (0, 1)]
    rows = networks_of(*cards, card("net", dataset="photos", accuracy=0.5))
    assert rows["seeds"].tolist() == [2, 1]
    assert rows["accuracy"].tolist() == pytest.approx([0.85, 0.5])


def test_operations_are_of_any_kind_and_unknown_where_none_is_known():
    kinds = {"macs": 1, "int8_macs": 20, "binary_ops": 300, "additions": 4000}
    rows = networks_of(card("all", **kinds), card("macs", macs=7), card("none"))
    assert rows["operations"].tolist() == pytest.approx([4321, 7, EMPTY], nan_ok=True)


def test_the_time_is_that_over_lenet5s():
    rows = networks_of(card("net", latency_b1_ms=9, latency_b1_anchor_ratio_clocked=0.25))
    assert rows["time"].tolist() == [0.25]


def test_the_base_is_of_the_same_kind_or_the_only_one_of_that_name():
    rows = networks_of(
        card("float", network="lenet5", parameters=8),
        card("float", network="mlp", parameters=6),
        card("binary", network="mlp", base="float", parameters=3),
        card("odd", network="other", base="float", parameters=3),
        card("teacher", network="lenet5", parameters=4),
        card("student", network="small", base="teacher", parameters=2),
        card("student", lab="01_second", network="small", base="teacher", parameters=2),
        card("student", dataset="photos", network="small", base="teacher", parameters=2),
    )
    found = figures_of_base(rows, ["parameters"])["parameters"].tolist()
    expected = [EMPTY, EMPTY, 6, EMPTY, EMPTY, 4, EMPTY, EMPTY]
    assert found == pytest.approx(expected, nan_ok=True)


def test_what_a_network_saves_and_gains_over_its_base():
    figures = {"memory_train_bytes": 80, "resident_bytes": 60, "disk_bytes": 40}
    own = {"latency_b1_base_ratio_clocked": 0.25, "latency_large_base_ratio_clocked": 2}
    rows = networks_of(
        card("base", **figures, parameters=20, macs=100, accuracy=0.9),
        card("small", base="base", disk_bytes=10, parameters=5, macs=25, accuracy=0.92, **own),
    )
    small = against_base(rows).set_index("variant").loc["small"]
    assert small["file"] == small["parameters saved"] == small["operations saved"] == 4
    assert small["speed, one image"] == 4
    assert small["speed, batch"] == 0.5
    assert small["gain"] == pytest.approx(2)
    for name in ("training memory", "memory", "similarity"):
        assert math.isnan(small[name])


def test_a_method_has_the_row_of_its_network_and_stays_empty_without():
    rows = networks_of(
        card("fast", lab="08_pruning", runtime="torch", accuracy=0.9),
        card("fast", lab="08_pruning", runtime="onnx", accuracy=0.8),
        card("fast", lab="08_pruning", runtime="torch", dataset="photos", accuracy=0.5),
        card("masked", lab="10_masks", accuracy=0.7),
    )
    places = [("pruning", "08", "fast", "torch"), ("masks", "10", "masked", "")]
    places.append(("chain", "17", "all", "torch"))
    methods = pd.DataFrame(places, columns=["method", "lab", "variant", "runtime"])
    found = of_methods(rows, methods)
    assert found.index.tolist() == ["pruning", "masks", "chain"]
    assert found["accuracy"].tolist() == pytest.approx([0.9, 0.7, EMPTY], nan_ok=True)
