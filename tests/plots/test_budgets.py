"""Several budgets at once: which networks are drawn in full color, and which one is ringed."""

import json
import math
import re

import numpy as np
import pandas as pd
import pytest
import vl_convert

from labsupport.core.errors import LabError
from labsupport.core.front import pareto_front
from labsupport.plots import vegalite
from labsupport.plots.budgets import budget_chart

COSTS = {"macs": "MACs", "disk_bytes": "bytes"}


@pytest.fixture
def table():
    noise = np.random.default_rng(2)
    return pd.DataFrame(
        {
            **{"name": [f"net{n}" for n in range(40)], "lab": np.arange(40) % 3},
            **{cost: noise.integers(1_000, 1_000_000, 40) for cost in COSTS},
            "accuracy": noise.uniform(0.9, 0.99, 40),
        }
    ).assign(disk_bytes=lambda rows: rows["disk_bytes"].where(rows.index > 4))


def spec_of(table, **chosen):
    """The chart's specification with sliders and the choice of the axis moved."""
    chart = budget_chart(table, COSTS, "accuracy", ["name"], group="lab")
    spec = json.loads(json.dumps(chart._repr_mimebundle_()[vegalite.MIME_TYPE]))
    for param in spec["params"]:
        param["value"] = chosen.get(param["name"], param["value"])
    return spec


def sentence(spec):
    svg = vl_convert.vegalite_to_svg(spec, vl_version=vegalite.VERSION)
    return re.search(r"name (net\d+)", re.sub(r"(<[^>]*>)+", " ", svg))[1]


def best(rows):
    return rows.loc[rows["accuracy"].idxmax(), "name"]


def test_in_words_it_is_the_most_accurate(table):
    chart = budget_chart(table, COSTS, "accuracy", ["name"], group="lab")
    assert f"40 networks; the most accurate: name {best(table)}, " in repr(chart)


def test_the_best_within_both_budgets_is_written(table):
    for macs, size in ((5.7, 5.8), (5.95, 5.5)):
        within = table[(table["macs"] <= 10**macs) & (table["disk_bytes"] <= 10**size)]
        assert sentence(spec_of(table, budget0=macs, budget1=size)) == best(within)


def test_a_slider_at_its_end_does_not_ask_for_a_cost_that_is_not_known(table):
    table.loc[0, "accuracy"] = 0.999  # its bytes are not known
    assert sentence(spec_of(table)) == "net0"
    largest = math.log10(table["disk_bytes"].max())
    known = table.dropna(subset="disk_bytes")
    within = known[known["disk_bytes"] <= 10 ** (largest - 0.1)]
    assert sentence(spec_of(table, budget1=largest - 0.1)) == best(within)
    assert sentence(spec_of(table, shown="bytes")) == best(known)  # it has no place on this axis


def test_each_cost_has_its_front(table):
    spec = spec_of(table)
    points = pd.DataFrame(spec["datasets"][spec["data"]["name"]])
    assert len(points) == 40
    for at, cost in enumerate(COSTS):
        drawn = points[points[f"_front{at}"]]["_gain"].sort_values()
        expected = pareto_front(table, cost, "accuracy")["accuracy"].sort_values()
        np.testing.assert_allclose(drawn, expected)


def test_a_cost_that_is_not_positive_counts_as_not_known(table):
    table.loc[7, "disk_bytes"] = 0
    spec = spec_of(table)
    points = spec["datasets"][spec["data"]["name"]]
    assert points[7]["_cost1"] is None
    assert "bytes" not in points[7]["_text"]


def test_a_cost_that_nobody_has_gets_no_slider(table):
    spec = spec_of(table.assign(macs=math.nan))
    assert [param["name"] for param in spec["params"]] == ["shown", "budget0"]
    assert spec["params"][0]["bind"]["options"] == ["bytes"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda rows: rows.drop(columns="macs"), "no column macs"),
        (lambda rows: rows.assign(macs=math.nan, disk_bytes=0), "cannot be drawn"),
        (lambda rows: rows.assign(accuracy=97.0), "cannot be drawn"),
        (lambda rows: rows[:0], "cannot be drawn"),
    ],
)
def test_a_table_that_cannot_be_drawn_is_refused(table, spoil, message):
    with pytest.raises(LabError, match=message):
        budget_chart(spoil(table), COSTS, "accuracy", ["name"], group="lab")
