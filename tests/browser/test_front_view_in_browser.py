"""A sweep's view on a page of a report: what the slider and the pointer bring out."""

import numpy as np
import pandas as pd
import pytest
from made_run import executed, make_run, shown, write_notebook
from nbformat import v4

from labsupport.plots import front_view
from labsupport.report import build_report

COUNT = 30


@pytest.fixture(scope="module")
def table():
    noise = np.random.default_rng(1)
    macs = noise.integers(1_000, 1_000_000, COUNT)
    macs[1] = macs[0]  # two points for one stop of the slider
    shares = noise.uniform(0.9, 0.99, (2, COUNT))
    return pd.DataFrame(
        {
            **{"name": [f"<net {n}>" for n in range(COUNT)], "size": np.arange(COUNT) % 3},
            **{"macs": macs, "val_accuracy": shares[0], "accuracy": shares[1]},
        }
    )


@pytest.fixture(scope="module")
def page(table, tmp_path_factory):
    """The address of a report's page with a view and, under it, the same once more."""
    run = make_run(tmp_path_factory.mktemp("runs") / "trial")
    view = front_view(table, "macs", "accuracy", ["name"], chosen_by="val_accuracy", group="size")
    output = shown(text_html=view._repr_html_(), text_plain=repr(view))
    cells = [executed("front_view()", number, output) for number in (1, 2)]
    write_notebook(run / "notebooks" / "00_first.ipynb", [v4.new_markdown_cell("# A view"), *cells])
    return build_report(run).with_name("00_first.html").as_uri()


def best_within(table, budget):
    """The name of the cheapest of the best, by looking at all."""
    within = table[table["macs"] <= budget]
    best = within[within["val_accuracy"] == within["val_accuracy"].max()]
    return best.sort_values("macs")["name"].iloc[0]


def place(circle):
    return circle.evaluate("circle => [circle.getAttribute('cx'), circle.getAttribute('cy')]")


def test_moving_the_slider_shows_the_best_within_the_budget(reader, page, table):
    reader.goto(page)
    view = reader.locator(".labs-front").first
    slider, budgets = view.get_by_label("budget of macs"), sorted(set(table["macs"]))
    assert slider.get_attribute("max") == str(len(budgets) - 1)
    order = table.sort_values("macs", kind="stable")["name"].tolist()
    for stop, budget in enumerate(budgets):
        slider.fill(str(stop))
        best = best_within(table, budget)
        assert view.locator(".budget").inner_text() == f"{budget:,}"
        assert slider.get_attribute("aria-valuetext") == f"{budget:,}"
        assert view.locator(".best").inner_text().startswith(f"name {best}, size ")
        point = view.locator(".point").nth(order.index(best))
        assert place(view.locator(".ring")) == place(point)


def test_the_slider_goes_by_the_keyboard_and_leaves_other_views_alone(reader, page, table):
    reader.goto(page)
    first, second = reader.locator(".labs-front").all()
    before = second.locator("output").inner_text()
    first.get_by_role("slider").focus()
    reader.keyboard.press("Home")
    reader.keyboard.press("ArrowRight")
    budget = sorted(set(table["macs"]))[1]
    assert first.locator(".budget").inner_text() == f"{budget:,}"
    assert second.locator("output").inner_text() == before


def test_a_point_tells_its_figures_to_those_who_point_at_it(reader, page, table):
    reader.goto(page)
    view = reader.locator(".labs-front").first
    tip = view.locator(".tip")
    assert not tip.is_visible()
    dearest = table.loc[table["macs"].idxmax()]
    view.locator(".point").last.hover()
    assert tip.inner_text().split("\n")[::2][:2] == [
        f"name {dearest['name']}",
        f"macs {dearest['macs']:,}",
    ]
    reader.mouse.move(1, 1)
    assert not tip.is_visible()


def test_without_script_the_plot_and_the_best_of_all_are_there(chromium, page, table):
    context = chromium.new_context(java_script_enabled=False)
    reader = context.new_page()
    reader.goto(page)
    view = reader.locator(".labs-front").first
    assert view.locator("svg").is_visible()
    assert view.locator(".point title").count() == COUNT
    assert best_within(table, np.inf) in view.locator("output").inner_text()
    assert not view.locator("input").is_visible()
    context.close()
