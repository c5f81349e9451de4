"""Several budgets on a page of a report: sliders and the choice of the x axis work together."""

import numpy as np
import pandas as pd
import pytest
from made_run import executed, make_run, write_notebook
from nbformat import v4

from labsupport.plots.budgets import budget_chart
from labsupport.report import build_report

COUNT = 30
COSTS = {"macs": "MACs", "disk_bytes": "bytes"}


@pytest.fixture(scope="module")
def table():
    noise = np.random.default_rng(3)
    return pd.DataFrame(
        {
            **{"name": [f"net{n}" for n in range(COUNT)], "lab": np.arange(COUNT) % 3},
            **{cost: noise.integers(1_000, 1_000_000, COUNT) for cost in COSTS},
            "accuracy": noise.uniform(0.9, 0.99, COUNT),
        }
    )


@pytest.fixture(scope="module")
def page(table, tmp_path_factory):
    """The address of a report's page with the chart."""
    run = make_run(tmp_path_factory.mktemp("runs") / "trial")
    chart = budget_chart(table, COSTS, "accuracy", ["name"], group="lab")
    output = v4.new_output("display_data", data=chart._repr_mimebundle_())
    cells = [v4.new_markdown_cell("# Budgets"), executed("budget_chart()", 1, output)]
    write_notebook(run / "notebooks" / "00_first.ipynb", cells)
    return build_report(run).with_name("00_first.html").as_uri()


def test_both_budgets_count_on_either_axis(reader, page, table):
    reader.goto(page)
    chart = reader.locator(".chart").first
    macs, size = chart.locator(".vega-bind input[type=range]").all()
    macs.fill("5.8")
    size.fill("5.7")
    within = table[(table["macs"] <= 10**5.8) & (table["disk_bytes"] <= 10**5.7)]
    assert 0 < len(within) < COUNT
    best = within.loc[within["accuracy"].idxmax(), "name"]
    for axis in ("bytes", "MACs"):
        chart.locator(".vega-bind select").select_option(axis)
        chart.locator("svg tspan", has_text=f"name {best}, ").wait_for()
    drawn = chart.locator("path[aria-label^='name net']")
    faint = drawn.evaluate_all("all => all.filter(each => each.getAttribute('opacity') < 1).length")
    assert faint == COUNT - len(within)
