"""A sweep to be explored: its Pareto front with a slider for the budget, drawn by Vega-Lite."""

from __future__ import annotations

import json
import math
import re
import textwrap
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from numbers import Real
from typing import Any

import altair as alt
import pandas as pd
import seaborn as sns
import vl_convert
from PIL import Image

from labsupport.core.errors import LabError
from labsupport.plots import vegalite
from labsupport.plots.accuracy_axis import accuracy_ticks, log_odds, percent
from labsupport.records.claims import number
from labsupport.sweep import pareto_front

EMBED_OPTIONS = {"actions": False, "renderer": "svg"}
WIDTH, HEIGHT, TEXT_HEIGHT = 560, 320, 50
LINE_LENGTH = 90  # of the text above a front, in characters
BUDGET = "pow(10, budget)"
TICK_LABEL = "format(datum.value > 7.6 ? 1 : 1 / (1 + exp(-datum.value)), '.4~p')"


@dataclass(frozen=True)
class InteractiveChart:
    """An Altair chart in a notebook: live where Vega-Lite is known, elsewhere a static picture.

    `words` stands where not even a picture is shown. Nothing comes from the network.
    """

    chart: alt.VConcatChart
    words: str

    def __repr__(self) -> str:
        return self.words

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        options = {"$schema": vegalite.SCHEMA, "usermeta": {"embedOptions": EMBED_OPTIONS}}
        spec = self.chart.to_dict() | options
        return {
            vegalite.MIME_TYPE: spec,
            "image/png": _small_png(spec),
            "text/plain": self.words,
        }


def _small_png(spec: dict[str, Any]) -> str:
    """A chart as PNG in base64, in few colors, which takes a tenth of the bytes."""
    drawn = Image.open(BytesIO(vl_convert.vegalite_to_png(spec, vl_version=vegalite.VERSION)))
    drawn.convert("RGB").quantize(64).save(file := BytesIO(), "PNG", optimize=True)
    return b64encode(file.getvalue()).decode()


def budget_slider(costs: pd.Series[Any], name: str) -> alt.Parameter:
    """A slider called `budget`: the decimal logarithm of what may be spent of these costs."""
    low, high = (math.ceil(100 * math.log10(cost)) / 100 for cost in (costs.min(), costs.max()))
    bind = alt.binding_range(min=low, max=high, step=0.01, name=f"budget, log10 of {name} ")
    return alt.param("budget", value=high, bind=bind)


def interactive_front(
    table: pd.DataFrame,
    cost: str,
    gain: str,
    describe: Sequence[str],
    *,
    chosen_by: str,
    group: str,
) -> InteractiveChart:
    """`gain` against `cost`, a point per row, with the Pareto front and a slider for a budget.

    Of the rows that cost no more than the budget, the one with the highest `chosen_by` is
    highlighted (of equal ones the cheapest): choose on validation data, show test data. Both are
    fractions and drawn in percent. Points have a color per value of `group` and are described by
    the columns in `describe`. Rows without a finite cost, gain or choice are left out.
    Raises LabError for a table that cannot be drawn so.
    """
    rows = _drawable_rows(table, [*describe, group, cost, chosen_by, gain], cost, chosen_by, gain)
    cost, gain, chosen_by, group = map(column_title, (cost, gain, chosen_by, group))
    shares = {name: rows[name].map(percent) for name in (chosen_by, gain)}
    texts = rows.map(cell_text).assign(**shares)
    points = texts.assign(
        _cost=rows[cost],
        _height=log_odds(rows[gain]),
        _choice=rows[chosen_by],
        _front=rows.index.isin(pareto_front(rows, cost, gain).index),
        _text=texts.apply(lambda row: ", ".join(f"{k} {v}" for k, v in row.items()), axis=1),
    )
    best = points[points["_choice"] == points["_choice"].max()].nsmallest(1, "_cost")["_text"]
    words = f"{len(points)} points; the best by {chosen_by}: {best.iloc[0]}"
    points["_text"] = points["_text"].map(lambda text: textwrap.fill(text, LINE_LENGTH))
    ticks = log_odds(accuracy_ticks(rows[gain].min(), rows[gain].max())).tolist()
    log = alt.Scale(type="log", nice=False, padding=15)
    place = alt.Chart().encode(
        alt.X("_cost:Q", title=f"{cost}, log scale", scale=log).axis(format="~s"),
        alt.Y("_height:Q", title=f"{gain}, log-odds scale")
        .axis(values=ticks, labelExpr=TICK_LABEL)
        .scale(zero=False, padding=15),
    )
    colors = alt.Scale(range=sns.color_palette("colorblind").as_hex())
    circles = place.mark_circle(size=50, opacity=1).encode(
        # Above the plot: a page of the report is no wider than the plot itself.
        alt.Color(f"{group}:N", sort=None, scale=colors).legend(orient="top"),
        description="_text:N",
        tooltip=[f"{name}:N" for name in texts],
    )
    chart = alt.vconcat(
        _sentence(f"With {cost} up to", f"the best by {chosen_by} is"), _plane(place, circles)
    ).properties(
        data=alt.InlineData(json.loads(points.to_json(orient="records", double_precision=15))),
        description=f"{gain} against {cost} with the Pareto front: {words}",
    )
    return InteractiveChart(chart.add_params(budget_slider(rows[cost], cost)), words)


def _plane(place: alt.Chart, circles: alt.Chart) -> alt.LayerChart:
    """The points, their front as a line, the budget as a dashed one, and a ring for the best."""
    front = place.transform_filter("datum._front").mark_line(interpolate="step-after", color="gray")
    end = alt.Chart(alt.InlineData([{}])).transform_calculate(_cost=BUDGET)
    rule = end.mark_rule(strokeDash=[4, 4]).encode(x="_cost:Q")
    ring = _best_within_budget(place).mark_point(size=220, strokeWidth=2.5, color="black")
    layers = alt.LayerChart(layer=[front, rule, ring, circles])
    return layers.properties(width=WIDTH, height=HEIGHT)


def _sentence(*words: str) -> alt.Chart:
    """A line of text with the budget between its two parts, and under it what the best point is."""
    before, after = (json.dumps(f"{part} ") for part in words)
    text = f"{before} + format({BUDGET}, ',.4~r') + ' ' + {after} + '\\n' + datum._text"
    line = _best_within_budget(alt.Chart()).transform_calculate(_sentence=text)
    mark = line.mark_text(align="left", baseline="top", fontSize=12, lineBreak="\n")
    sentence: alt.Chart = mark.encode(x=alt.value(0), y=alt.value(0), text="_sentence:N")
    return sentence.properties(width=WIDTH, height=TEXT_HEIGHT, view=alt.ViewConfig(stroke=None))


def _best_within_budget(chart: alt.Chart) -> alt.Chart:
    order: list[alt.SortField | dict[str, str]]
    order = [alt.SortField("_choice", order="descending"), alt.SortField("_cost")]
    within = chart.transform_filter(f"datum._cost <= {BUDGET} * (1 + 1e-9)")  # it is rounded
    ranked = within.transform_window(_rank="row_number()", sort=order)
    return ranked.transform_filter("datum._rank == 1")


def _drawable_rows(
    table: pd.DataFrame, columns: Sequence[str], cost: str, *fractions: str
) -> pd.DataFrame:
    """The rows with all figures, numbered anew; their columns have the titles that are shown."""
    if missing := [column for column in columns if column not in table]:
        raise LabError(f"no column {', '.join(missing)}", f"there are {', '.join(map(str, table))}")
    figures = table[[cost, *fractions]].astype(float)
    figures = figures[figures.abs().lt(math.inf).all(axis="columns")]
    costs, shown = figures[cost], figures[[*fractions]].to_numpy()
    if figures.empty or costs.min() <= 0 or shown.min() < 0 or shown.max() > 1:
        raise LabError(
            f"{fractions[-1]} against {cost} cannot be drawn",
            f"give rows with {cost} above 0, and {' and '.join(fractions)} from 0 to 1",
        )
    rows = table.loc[figures.index, list(dict.fromkeys(columns))].assign(**figures)
    return rows.reset_index(drop=True).rename(columns=column_title)


def column_title(column: str) -> str:
    """A column's name as a title."""
    return re.sub(r"[_.:\\\[\]]+", " ", column)  # what has a meaning in Altair's names


def cell_text(value: Any) -> str:  # noqa: ANN401
    """A cell of a table as a reader wants it; nothing for a number that is not known."""
    return number(float(value)) if isinstance(value, Real) else str(value)
