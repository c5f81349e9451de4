"""The scorecard: one row per network, clocked and counted told apart by name."""

import math
from dataclasses import FrozenInstanceError, replace

import pytest

from labsupport.records.scorecard import (
    COLUMNS,
    Scorecard,
    as_frame,
    is_clocked,
    with_gains,
    with_speedups,
)


def card(**measured: float) -> Scorecard:
    return Scorecard("01", "baseline", "mlp", "mnist5k", "quick", 0, **measured)


@pytest.mark.parametrize(
    "column", ["median_ms", "iqr_us", "train_seconds", "images_fps", "base_ratio_clocked"]
)
def test_clocked(column):
    assert is_clocked(column)


@pytest.mark.parametrize(
    "column", ["parameters", "macs", "ms", "fps", "ms_per_mac", "total_uj_model", "seconds_left"]
)
def test_counted(column):
    assert not is_clocked(column)


def test_the_scorecard_tells_its_own_columns_apart():
    clocked = {column for column in COLUMNS if is_clocked(column)}
    latency = {column for column in COLUMNS if column.startswith("latency_")}
    assert clocked == latency | {"train_seconds"}


def test_a_row_each_in_the_order_of_the_fields():
    frame = as_frame([card(macs=5), card(accuracy=0.5)])
    assert list(frame.columns) == COLUMNS
    assert frame["macs"].iloc[0] == 5
    assert frame["macs"].isna().iloc[1]
    assert frame["accuracy"].iloc[1] == 0.5


def test_no_cards_make_an_empty_table_with_all_columns():
    frame = as_frame([])
    assert list(frame.columns) == COLUMNS
    assert frame.empty


def test_a_card_is_not_changed_after_the_fact():
    with pytest.raises(FrozenInstanceError):
        card().macs = 1


def test_speedups_are_the_inverse_ratios_and_their_ends_change_places():
    ratios = {"value": 0.25, "low": 0.2, "high": 0.5}
    columns = {
        f"latency_{size}_base_ratio{'' if end == 'value' else f'_{end}'}_clocked": ratio
        for size in ("b1", "large")
        for end, ratio in ratios.items()
    }
    (row,) = with_speedups(as_frame([card(**columns)])).to_dict("records")
    for size in ("b1", "large"):
        assert row[f"speedup_{size}_clocked"] == 4
        assert row[f"speedup_{size}_low_clocked"] == 2
        assert row[f"speedup_{size}_high_clocked"] == 5


def test_gains_are_over_the_base_of_the_same_network_and_seed():
    plain, small = card(base="plain", disk_bytes=800), card(base="plain", disk_bytes=100)
    rows = [
        replace(one, variant=name, network=network, seed=seed, accuracy=right - seed / 10)
        for network in (None, "mlp")
        for seed in (0, 1)
        for name, one, right in (("plain", plain, 0.9), ("small", small, 0.92))
    ]
    alone = replace(small, variant="alone", base="absent", accuracy=0.5)
    table = with_gains(as_frame([*rows, alone])).set_index("variant")
    assert table["gain_points"]["small"].tolist() == pytest.approx([2] * 4)
    assert table["times_smaller"]["small"].tolist() == [8] * 4
    assert table["gain_points"]["plain"].tolist() == [0] * 4
    assert math.isnan(table["gain_points"]["alone"])
