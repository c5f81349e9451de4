"""A front with its slider on a page of a report: what moving and pointing bring out."""

import math

import numpy as np
import pandas as pd
import pytest
from made_run import executed, make_run, write_notebook
from nbformat import v4

from labsupport.plots.interactive import interactive_front
from labsupport.report import build_report

COUNT = 30
SLIDER = ".vega-bind input[type=range]"


@pytest.fixture(scope="module")
def table():
    noise = np.random.default_rng(1)
    macs = noise.integers(1_000, 1_000_000, COUNT)
    macs[1] = macs[0]  # two points with one budget
    shares = noise.uniform(0.9, 0.99, (2, COUNT))
    return pd.DataFrame(
        {
            **{"name": [f"<net {n}>" for n in range(COUNT)], "size": np.arange(COUNT) % 3},
            **{"macs": macs, "val_accuracy": shares[0], "accuracy": shares[1]},
        }
    )


@pytest.fixture(scope="module")
def page(table, tmp_path_factory):
    """The address of a report's page with a chart and, under it, the same once more."""
    run = make_run(tmp_path_factory.mktemp("runs") / "trial")
    chart = interactive_front(
        table, "macs", "accuracy", ["name"], chosen_by="val_accuracy", group="size"
    )
    output = v4.new_output("display_data", data=chart._repr_mimebundle_())
    cells = [executed("interactive_front()", number, output) for number in (1, 2)]
    cells = [v4.new_markdown_cell("# A front"), *cells]
    write_notebook(run / "notebooks" / "00_first.ipynb", cells)
    return build_report(run).with_name("00_first.html").as_uri()


def best_within(table, budget):
    """The name of the cheapest of the best, by looking at all."""
    within = table[table["macs"] <= budget]
    best = within[within["val_accuracy"] == within["val_accuracy"].max()]
    return best.sort_values("macs")["name"].iloc[0]


def sentence(chart):
    return " ".join(chart.locator("svg tspan").all_text_contents())


def centers(marks):
    """Where marks are drawn, in pixels."""
    boxes = [mark.bounding_box() for mark in marks]
    return np.array([(b["x"] + b["width"] / 2, b["y"] + b["height"] / 2) for b in boxes])


def test_moving_the_slider_shows_the_best_within_the_budget(reader, page, table):
    reader.goto(page)
    chart = reader.locator(".chart").first
    slider = chart.locator(SLIDER)
    assert "budget" in chart.locator(".vega-bind").inner_text()
    for budget in sorted(table["macs"])[::3]:
        stop = math.ceil(100 * math.log10(budget)) / 100
        slider.fill(f"{stop:g}")
        best = best_within(table, 10**stop)
        words = f"With macs up to {float(f'{10**stop:.4g}'):,.0f} the best by val accuracy is"
        chart.locator("svg tspan", has_text=words).wait_for()
        assert f"name {best}, size " in sentence(chart)
        point = chart.locator(f"path[aria-label^='name {best},']").first
        ring = chart.locator("path[stroke='black'][stroke-width='2.5']")
        assert np.abs(centers([point]) - centers([ring])).max() < 1.5


def test_the_slider_goes_by_the_keyboard_and_leaves_other_charts_alone(reader, page, table):
    reader.goto(page)
    first, second = reader.locator(".chart").all()
    before = sentence(second)
    first.locator(SLIDER).focus()
    reader.keyboard.press("Home")
    cheapest = best_within(table, 1.02 * table["macs"].min())
    first.locator("svg tspan", has_text=f"name {cheapest}, ").wait_for()
    assert sentence(second) == before


def test_a_point_shows_its_figures_to_those_who_point_at_it(reader, page, table):
    reader.goto(page)
    chart = reader.locator(".chart").first
    dearest = table.loc[table["macs"].idxmax()]
    chart.locator(f"path[aria-label^='name {dearest['name']},']").hover()
    tip = reader.locator("#vg-tooltip-element.visible")
    tip.wait_for()
    words = " ".join(tip.inner_text().split())
    assert f"name {dearest['name']} size" in words
    assert f"macs {dearest['macs']:,} val" in words
    reader.mouse.move(1, 1)
    tip.wait_for(state="hidden")


def test_the_chart_is_described_to_those_who_do_not_see_it(reader, page, table):
    reader.goto(page)
    described = reader.locator(".chart[aria-label*='Pareto front']").first
    assert best_within(table, np.inf) in described.get_attribute("aria-label")


def test_without_script_a_picture_is_there(chromium, page):
    context = chromium.new_context(java_script_enabled=False)
    reader = context.new_page()
    reader.goto(page)
    picture = reader.locator("noscript img").first
    assert picture.is_visible()
    assert picture.evaluate("picture => picture.naturalWidth") > 500
    assert "accuracy against macs" in picture.get_attribute("alt")
    context.close()
