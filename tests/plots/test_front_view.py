import json
import math
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import seaborn as sns
from hypothesis import given
from hypothesis import strategies as st

from labsupport.core.errors import LabError
from labsupport.plots import front_view
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


def viewed(table, describe=("name", "depth"), group="depth"):
    return front_view(table, "macs", "accuracy", describe, chosen_by="val_accuracy", group=group)


def shown(*given, **named):
    return viewed(*given, **named)._repr_html_()


class Parts(HTMLParser):
    """The elements of a fragment, with the text right inside each; all are closed in order."""

    VOID = ("input",)

    def __init__(self, html):
        super().__init__()
        self.all, self.open = [], []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        part = {"tag": tag, "text": "", **dict(attrs)}
        self.all.append(part)
        if tag not in self.VOID:
            self.open.append(part)

    def handle_startendtag(self, tag, attrs):
        self.all.append({"tag": tag, "text": "", **dict(attrs)})

    def handle_endtag(self, tag):
        assert self.open.pop()["tag"] == tag

    def handle_data(self, data):
        if self.open:
            self.open[-1]["text"] += data

    def named(self, name):
        return [part for part in self.all if name in (part["tag"], part.get("class"))]


def stops(html):
    return json.loads(re.search(r"const stops = (.*);", html)[1])


def cheapest_best(points, budget):
    """The position of the cheapest of the best, by looking at all."""
    within = [(-row.val_accuracy, row.macs, at) for at, row in enumerate(points.itertuples())
              if row.macs <= budget]  # fmt: skip
    return min(within)[2]


@given(st.lists(ROW, min_size=1, max_size=12))
def test_at_every_stop_of_the_slider_stands_the_best_within_its_budget(rows):
    table = made(rows)
    points = table.sort_values("macs", kind="stable", ignore_index=True)
    told = stops(shown(table))
    budgets = sorted(set(table["macs"]))  # so that every point comes within the budget
    assert [stop["budget"] for stop in told] == [str(budget) for budget in budgets]
    assert [stop["best"] for stop in told] == [cheapest_best(points, b) for b in budgets]


@given(st.lists(ROW, min_size=1, max_size=12))
def test_what_is_chosen_does_not_depend_on_the_test_accuracy(rows):
    others = made(rows).assign(accuracy=0.5)
    assert [stop["best"] for stop in stops(shown(made(rows)))] == [
        stop["best"] for stop in stops(shown(others))
    ]


def test_each_point_is_drawn_and_described():
    parts = Parts(shown(many(), describe=("size", "depth", "width"), group="size"))
    circles, titles = parts.named("point"), parts.named("title")
    assert len(circles) == len(titles) == 100
    first = many().iloc[0]
    assert titles[0]["text"].split("\n") == [
        f"size {first['size']:g}",
        f"depth {first['depth']:g}",
        f"width {first['width']:g}",
        f"macs {first['macs']:,.0f}",
        f"val accuracy {100 * first['val_accuracy']:.4g}\N{NO-BREAK SPACE}%",
        f"accuracy {100 * first['accuracy']:.4g}\N{NO-BREAK SPACE}%",
    ]
    assert len({circle["fill"] for circle in circles}) == 3


def test_points_stand_inside_the_frame_by_their_order():
    circles = Parts(shown(many(), describe=())).named("point")
    across, down = ([float(circle[at]) for circle in circles] for at in ("cx", "cy"))
    assert across == sorted(across)
    assert 72 < min(across) < max(across) < 628
    assert 8 < min(down) < max(down) < 316
    ranks = many().sort_values("macs")["accuracy"].rank(ascending=False)
    np.testing.assert_allclose(pd.Series(down).rank(), ranks, atol=3)  # tenths of a unit coincide


def test_the_scales_are_a_logarithm_and_a_logit():
    table = made([(1, 5, 5), (1, 5, 5), (1, 5, 5)])
    table = table.assign(macs=[1, 10, 100], accuracy=[0.1, 0.5, 0.9])
    circles = Parts(shown(table)).named("point")
    for at in ("cx", "cy"):
        low, middle, high = (float(circle[at]) for circle in circles)
        assert high - middle == pytest.approx(middle - low, abs=0.11)


def test_the_line_goes_through_the_front_in_steps():
    parts = Parts(shown(many(), describe=()))
    (line,) = [part for part in parts.named("line") if part["tag"] == "path"]
    front = pareto_front(many(), "macs", "accuracy")
    assert line["d"].count("V") == len(front) - 1
    places = {(float(c["cx"]), float(c["cy"])) for c in parts.named("point")}
    steps = re.findall(r"H([\d.]+)V([\d.]+)", line["d"])
    assert {(float(x), float(y)) for x, y in steps} <= places


def test_the_key_has_the_colors_of_the_points():
    html = shown(many(), describe=(), group="size")
    fills = {part["fill"] for part in Parts(html).named("point")}
    assert set(re.findall(r'<i style="background: (#\w+)"></i>', html)) == fills
    assert fills < set(sns.color_palette("colorblind").as_hex())


def test_a_hostile_name_stays_a_text():
    table = made([(1, 5, 5), (2, 6, 6)]).assign(name=EVIL).rename(columns={"depth": EVIL})
    parts = Parts(shown(table, describe=("name",), group=EVIL))
    assert EVIL not in shown(table, describe=("name",), group=EVIL)
    assert EVIL in parts.named("title")[0]["text"]
    assert not [part for part in parts.all if "onload" in part]
    assert len(parts.named("script")) == 1


def test_equal_tables_give_equal_bytes_and_views_may_share_a_page():
    assert shown(many(), describe=()) == shown(many(), describe=())
    assert not [part for part in Parts(shown(many(), describe=())).all if "id" in part]


def test_nothing_comes_from_elsewhere_and_a_hundred_points_are_small():
    html = shown(many(), describe=("size", "depth", "width", "parameters"), group="size")
    assert len(html.encode()) < 40_000
    assert not re.search(r"https?:|\bsrc=|\bhref=|@import|url\(", html)


def test_one_point_is_a_view_too():
    html = shown(made([(3, 5, 6)]))
    assert stops(html) == [{"x": 628, "budget": "3", "best": 0}]
    assert len(Parts(html).named("point")) == 1
    assert "nan" not in html.lower().replace("\N{NO-BREAK SPACE}", " ")


def test_shares_of_nothing_and_all_are_drawn():
    html = shown(made([(1, 5, 0), (2, 5, 5), (3, 5, 10)]))
    assert all(8 < float(part["cy"]) < 316 for part in Parts(html).named("point"))


@pytest.mark.parametrize("column", ["macs", "val_accuracy", "accuracy"])
@pytest.mark.parametrize("unknown", [math.nan, math.inf])
def test_rows_without_a_figure_are_left_out(column, unknown):
    rows = [(1, 5, 6), (2, 7, 8), (3, 9, 9)]
    table = made(rows).astype({"macs": float})
    table.loc[2, column] = unknown
    assert shown(table) == shown(made(rows[:2]))


def test_in_words_it_is_its_best_point():
    table = made([(1, 9, 5), (2, 6, 9)])
    told = repr(viewed(table, describe=("name",)))
    assert told.startswith("2 points; the best by val accuracy: name net 0, depth 2, macs 1, ")
    assert f'<span class="best">{told.split(": ")[1]}</span>' in shown(table, describe=("name",))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"macs": 0}, "macs is not above 0"),
        ({"accuracy": 98.0}, "accuracy is not from 0 to 1"),
        ({"val_accuracy": math.nan}, "no row has macs"),
    ],
)
def test_what_cannot_be_drawn_is_told(change, told):
    with pytest.raises(LabError, match=told):
        shown(made([(1, 5, 5)]).assign(**change))


def test_a_column_that_is_not_there_is_told():
    with pytest.raises(LabError, match=r"no column breadth; there are macs, .*depth"):
        shown(made([(1, 5, 5)]), describe=("breadth",))
