import json
import math
import re
from base64 import b64decode
from io import BytesIO

import numpy as np
import pandas as pd
import pytest
import vl_convert
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from labsupport.core.errors import LabError
from labsupport.plots import interactive, vegalite
from labsupport.plots.accuracy_axis import log_odds
from labsupport.sweep import pareto_front

EVIL = "</script><b onload='x'>&</title>"
ROW = st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9))


def made(rows):
    """A table from (cost, validation, test) in tenths."""
    table = pd.DataFrame(rows, columns=["macs", "val_accuracy", "accuracy"])
    shares = table[["val_accuracy", "accuracy"]] / 10
    return table.assign(**shares, name=[f"net {n}" for n in range(len(rows))], depth=2)


def many(count=100):
    noise = np.random.default_rng(0)
    macs = np.sort(noise.integers(1_000, 10_000_000, count))
    return pd.DataFrame(
        {
            **{"size": noise.choice([7, 14, 28], count), "depth": noise.choice([1, 2, 4], count)},
            **{"width": 8 * np.arange(count), "parameters": macs + 10, "macs": macs},
            "val_accuracy": 1 - noise.uniform(0.005, 0.1, count),
            "accuracy": 1 - noise.uniform(0.005, 0.1, count),
        }
    )


def front(table, describe=("name", "depth"), group="depth"):
    return interactive.interactive_front(
        table, "macs", "accuracy", describe, chosen_by="val_accuracy", group=group
    )


def spec_of(chart):
    return chart._repr_mimebundle_()[vegalite.MIME_TYPE]


def points_of(chart):
    spec = spec_of(chart)
    return spec["datasets"][spec["data"]["name"]]


def texts_at(spec, budget):
    """What is written in the chart when the slider stands at a budget."""
    (slider,) = spec["params"]
    moved = spec | {"params": [slider | {"value": math.log10(budget)}]}
    svg = vl_convert.vegalite_to_svg(moved, vl_version=vegalite.VERSION)
    return re.sub(r"(<[^>]*>)+", " ", svg)


def cheapest_best(table, budget=math.inf):
    """The name of the cheapest of the best, by looking at all."""
    rows = [(-row.val_accuracy, row.macs, at, row.name) for at, row in
            enumerate(table.itertuples(index=False)) if row.macs <= budget]  # fmt: skip
    return min(rows)[-1]


@settings(max_examples=10)
@given(st.lists(ROW, min_size=1, max_size=12))
def test_in_words_it_is_the_cheapest_of_the_best_on_validation_data(rows):
    table = made(rows)
    assert f"by val accuracy: name {cheapest_best(table)}, " in repr(front(table))


def test_at_each_budget_the_cheapest_best_within_it_is_written_and_ringed():
    table = made([(1000, 5, 9), (1000, 6, 1), (2000, 8, 3), (3000, 8, 4), (7000, 9, 2)])
    spec = spec_of(front(table))
    for budget in table["macs"]:  # all of them are stops of the slider or lie just below one
        words = texts_at(spec, budget)
        assert f"With macs up to {budget:,} the best by val accuracy is" in words
        assert f"name {cheapest_best(table, budget)}, depth 2, " in words


def test_the_slider_reaches_from_the_cheapest_to_the_dearest_on_both_ends():
    slider = interactive.budget_slider(pd.Series([1234.0, 1e6, 56789]), "macs")
    bind = slider.param.bind.to_dict()
    assert 10 ** (bind["min"] - 0.01) < 1234 <= 10 ** bind["min"]
    assert 10 ** (bind["max"] - 0.01) < 1e6 <= 10 ** bind["max"] * (1 + 1e-9)


def test_each_point_is_drawn_and_described():
    table = many()
    points = points_of(front(table, describe=("size", "depth", "width"), group="size"))
    assert len(points) == 100
    first = table.iloc[0]
    assert points[0]["_text"].replace("\n", " ").split(", ") == [
        f"size {first['size']:g}",
        f"depth {first['depth']:g}",
        f"width {first['width']:g}",
        f"macs {first['macs']:,.0f}",
        f"val accuracy {100 * first['val_accuracy']:.4g}\N{NO-BREAK SPACE}%",
        f"accuracy {100 * first['accuracy']:.4g}\N{NO-BREAK SPACE}%",
    ]
    np.testing.assert_allclose([p["_cost"] for p in points], table["macs"])
    np.testing.assert_allclose([p["_height"] for p in points], log_odds(table["accuracy"]))


def test_the_line_goes_through_the_front():
    points = points_of(front(many(), describe=()))
    drawn = {point["macs"] for point in points if point["_front"]}
    expected = pareto_front(many(), "macs", "accuracy")
    assert drawn == {f"{macs:,}" for macs in expected["macs"]}


def test_where_nothing_is_live_there_is_a_small_picture():
    chart = front(many(), describe=("size", "width", "parameters"), group="size")
    bundle = chart._repr_mimebundle_()
    picture = Image.open(BytesIO(b64decode(bundle["image/png"])))
    assert picture.width > picture.height > 300
    assert len(np.unique(np.asarray(picture))) > 10  # not blank
    assert len(json.dumps(bundle)) < 80_000
    assert bundle["text/plain"] in bundle[vegalite.MIME_TYPE]["description"]


def test_nothing_is_loaded_from_elsewhere():
    assert '"url"' not in json.dumps(spec_of(front(many(), describe=())))


def test_a_hostile_name_stays_a_text():
    table = made([(1, 5, 5), (2, 6, 6)]).assign(name=EVIL)
    assert EVIL in points_of(front(table))[0]["name"]
    svg = vl_convert.vegalite_to_svg(spec_of(front(table)), vl_version=vegalite.VERSION)
    assert EVIL not in svg


def test_equal_tables_give_equal_charts():
    assert spec_of(front(many(), describe=())) == spec_of(front(many(), describe=()))


def test_one_point_and_those_of_nothing_and_all_are_drawn():
    assert "net 0" in texts_at(spec_of(front(made([(3, 5, 6)]))), 3)
    points = points_of(front(made([(1, 5, 0), (2, 5, 10)])))
    assert np.isfinite([point["_height"] for point in points]).all()


@pytest.mark.parametrize("column", ["macs", "val_accuracy", "accuracy"])
@pytest.mark.parametrize("unknown", [math.nan, math.inf])
def test_rows_without_a_figure_are_left_out(column, unknown):
    rows = [(1, 5, 6), (2, 7, 8), (3, 9, 9)]
    table = made(rows).astype({"macs": float})
    table.loc[2, column] = unknown
    assert front(table).chart.to_dict() == front(made(rows[:2])).chart.to_dict()


@pytest.mark.parametrize(
    "change", [{"macs": 0}, {"accuracy": 98.0}, {"accuracy": -0.1}, {"val_accuracy": math.nan}]
)
def test_what_cannot_be_drawn_is_an_error(change):
    with pytest.raises(LabError, match=r"accuracy against macs cannot be drawn.*macs above 0"):
        front(made([(1, 5, 5)]).assign(**change))


def test_an_absent_column_is_named():
    with pytest.raises(LabError, match=r"no column breadth; there are macs, .*depth"):
        front(made([(1, 5, 5)]), describe=("breadth",))
