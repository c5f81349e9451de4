"""Networks under several budgets at once: one slider for each cost, and a choice of the x axis."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import seaborn as sns

from labsupport.core.errors import LabError
from labsupport.core.front import pareto_front
from labsupport.plots.accuracy_axis import accuracy_ticks, log_odds, percent
from labsupport.plots.interactive import (
    HEIGHT,
    LINE_LENGTH,
    TEXT_HEIGHT,
    TICK_LABEL,
    WIDTH,
    InteractiveChart,
    cell_text,
    column_title,
)

COST_LABEL = "datum.value < 1 ? format(datum.value, '~g') : format(datum.value, '~s')"


def budget_chart(
    table: pd.DataFrame,
    costs: Mapping[str, str],
    gain: str,
    describe: Sequence[str],
    *,
    group: str,
) -> InteractiveChart:
    """`gain` against one of several costs, with the Pareto front and a slider for each cost.

    `costs` has the columns and what they are called. Rows within all budgets are drawn in full
    color, and the one of highest `gain` among them is ringed; a slider at its right end is no
    limit, and any other leaves out the rows whose cost is not known. A cost that is known of no row
    has no slider. `gain` is a fraction, drawn in percent. Points have a color per value of `group`
    and are described by the columns in `describe`. Raises LabError for a table that cannot be drawn
    so.
    """
    rows = _drawable_rows(table, [*costs], gain, [*describe, group])
    costs = {cost: name for cost, name in costs.items() if rows[cost].notna().any()}
    points, names = _points(rows, costs, gain, describe, group), [*costs.values()]
    ends = [_slider_ends(points[f"_cost{at}"]) for at in range(len(costs))]
    best = points.nlargest(1, "_gain")["_text"].iloc[0]
    words = f"{len(points)} networks; the most accurate: {best}"
    points["_text"] = points["_text"].map(lambda text: textwrap.fill(text, LINE_LENGTH))
    chart = alt.vconcat(_sentence(names, ends), _plane(points, names, gain, group, ends))
    chart = chart.properties(
        data=alt.InlineData(json.loads(points.to_json(orient="records", double_precision=15))),
        description=f"{gain} against a cost, with the Pareto front: {words}",
    )
    sliders = [_slider(at, name, *ends[at]) for at, name in enumerate(names)]
    return InteractiveChart(chart.add_params(_axis_choice(names), *sliders), words)


def _points(
    rows: pd.DataFrame, costs: Mapping[str, str], gain: str, describe: Sequence[str], group: str
) -> pd.DataFrame:
    """A row for each network, with all that the chart asks for: costs and fronts by number."""
    fronts = [rows.index.isin(pareto_front(rows, cost, gain).index) for cost in costs]
    columns: dict[str, Any] = {f"_front{at}": front for at, front in enumerate(fronts)}
    columns |= {f"_cost{at}": rows[cost] for at, cost in enumerate(costs)}
    columns |= {"_group": rows[group], "_gain": rows[gain], "_height": log_odds(rows[gain])}
    titles = {**{column: column_title(column) for column in describe}, **costs, gain: "accuracy"}
    texts = rows[[*titles]].map(cell_text).assign(**{gain: rows[gain].map(percent)})
    said = texts.rename(columns=titles).apply(
        lambda row: ", ".join(f"{name} {text}" for name, text in row.items() if text), axis=1
    )
    return pd.DataFrame(columns).assign(_text=said)


def _drawable_rows(
    table: pd.DataFrame, costs: Sequence[str], gain: str, others: Sequence[str]
) -> pd.DataFrame:
    """The rows with a gain, numbered anew; a cost that is not positive counts as not known."""
    if missing := [name for name in [*costs, gain, *others] if name not in table]:
        raise LabError(f"no column {', '.join(missing)}", f"there are {', '.join(map(str, table))}")
    rows = table.dropna(subset=[gain]).reset_index(drop=True)
    figures = rows[[*costs]].astype(float)
    rows = rows.assign(**figures.where(np.isfinite(figures) & (figures > 0)))
    if not rows[[*costs]].notna().any(axis=None) or not rows[gain].between(0, 1).all():
        raise LabError(
            f"{gain} against {', '.join(costs)} cannot be drawn",
            f"give rows with a cost above 0, and {gain} from 0 to 1",
        )
    return rows


def _slider_ends(costs: pd.Series[float]) -> tuple[float, float]:
    low, high = (math.ceil(100 * math.log10(cost)) / 100 for cost in (costs.min(), costs.max()))
    return low, high


def _slider(at: int, name: str, low: float, high: float) -> alt.Parameter:
    bind = alt.binding_range(min=low, max=high, step=0.01, name=f"budget, log10 of {name} ")
    return alt.param(f"budget{at}", value=high, bind=bind)


def _axis_choice(names: list[str]) -> alt.Parameter:
    bind = alt.binding_select(options=names, name="x axis ")
    return alt.param("shown", value=names[0], bind=bind)


def _within(ends: Sequence[tuple[float, float]]) -> str:
    """Whether a point lies within all budgets, as Vega-Lite asks it."""
    each = [
        f"(budget{at} >= {high} || (isValid(datum._cost{at}) && "
        f"datum._cost{at} <= pow(10, budget{at}) * (1 + 1e-9)))"
        for at, (_, high) in enumerate(ends)
    ]
    return " && ".join(each)


def _on_axis(chart: alt.Chart, names: Sequence[str]) -> alt.Chart:
    """The points that have the cost of the x axis, as `_cost`, and whether its front has them."""
    chosen = [
        " : ".join(
            f"shown == {json.dumps(name)} ? datum.{column}{at}" for at, name in enumerate(names)
        )
        for column in ("_cost", "_front")
    ]
    cost, front = (f"{choice} : null" for choice in chosen)
    return chart.transform_calculate(_cost=cost, _front=front).transform_filter(
        "isValid(datum._cost)"
    )


def _best(chart: alt.Chart, ends: Sequence[tuple[float, float]]) -> alt.Chart:
    order: list[alt.SortField | dict[str, str]]
    order = [alt.SortField("_gain", order="descending"), alt.SortField("_cost")]
    ranked = chart.transform_filter(_within(ends)).transform_window(
        _rank="row_number()", sort=order
    )
    return ranked.transform_filter("datum._rank == 1")


def _sentence(names: list[str], ends: Sequence[tuple[float, float]]) -> alt.Chart:
    """What the best network within the budgets is, in words."""
    text = "'Within the budgets the most accurate network is\\n' + datum._text"
    line = _best(_on_axis(alt.Chart(), names), ends).transform_calculate(_sentence=text)
    mark = line.mark_text(align="left", baseline="top", fontSize=12, lineBreak="\n")
    sentence: alt.Chart = mark.encode(x=alt.value(0), y=alt.value(0), text="_sentence:N")
    return sentence.properties(width=WIDTH, height=TEXT_HEIGHT, view=alt.ViewConfig(stroke=None))


def _plane(
    points: pd.DataFrame,
    names: list[str],
    gain: str,
    group: str,
    ends: Sequence[tuple[float, float]],
) -> alt.LayerChart:
    """The points, faint beyond a budget, the front of the chosen cost, and a ring for the best."""
    ticks = log_odds(accuracy_ticks(points["_gain"].min(), points["_gain"].max())).tolist()
    place = _on_axis(alt.Chart(), names).encode(
        alt.X("_cost:Q", title=f"{', '.join(names)}: as chosen, log scale")
        .axis(labelExpr=COST_LABEL)
        .scale(type="log", nice=False, padding=15),
        alt.Y("_height:Q", title=f"{column_title(gain)}, log-odds scale")
        .axis(values=ticks, labelExpr=TICK_LABEL)
        .scale(zero=False, padding=15),
    )
    front = place.transform_filter("datum._front")
    front = front.mark_line(interpolate="step-after", color="gray")
    ring = _best(place, ends).mark_point(size=220, strokeWidth=2.5, color="black")
    groups = points["_group"].drop_duplicates().tolist()  # the same colors on every x axis
    colors = alt.Scale(domain=groups, range=sns.color_palette("colorblind").as_hex())
    circles = place.mark_circle(size=50).encode(
        alt.Color("_group:N", sort=None, title=group, scale=colors).legend(orient="top", columns=5),
        opacity=alt.condition(_within(ends), alt.value(1), alt.value(0.15)),
        description="_text:N",
        tooltip=[alt.Tooltip("_text:N", title=column_title(group))],
    )
    layers = alt.LayerChart(layer=[front, ring, circles])
    return layers.properties(width=WIDTH, height=HEIGHT)
