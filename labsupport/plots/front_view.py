"""A sweep to be played with: all its points, their front, and the best within a budget."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from itertools import cycle
from numbers import Real
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns

from labsupport.core.errors import LabError
from labsupport.plots.picture import FRAME, RIGHT, Picture
from labsupport.records.claims import number
from labsupport.sweep import pareto_front

TEMPLATE = Path(__file__).with_name("front.html")
PALETTE = sns.color_palette("colorblind").as_hex()


def front_view(
    table: pd.DataFrame,
    cost: str,
    gain: str,
    describe: Sequence[str],
    *,
    chosen_by: str,
    group: str,
) -> FrontView:
    """`gain` against `cost`, a point per row, with the Pareto front and a slider for a budget.

    Of the rows that cost no more than the budget, the one with the highest `chosen_by` is
    highlighted (of equal ones the cheapest): choose on validation data, show test data. Both are
    shares and drawn in percent. Points have a color per value of `group` and are described by the
    columns in `describe`. Rows without a finite cost, gain or choice are left out.
    Raises LabError for a table that cannot be drawn so.
    """
    columns = list(dict.fromkeys([*describe, group, cost, chosen_by, gain]))
    if missing := [column for column in columns if column not in table]:
        raise LabError(f"no column {', '.join(missing)}", f"there are {', '.join(map(str, table))}")
    figures = table[[cost, chosen_by, gain]].astype(float)
    rows = table[columns].assign(**figures)[np.isfinite(figures.to_numpy()).all(axis=1)]
    _check(rows, cost, (chosen_by, gain))
    return FrontView(rows, cost, gain, chosen_by, group)


@dataclass(frozen=True, repr=False)
class FrontView:
    """What a notebook shows: a fragment of HTML or, where that is unknown, a sentence.

    `rows` holds the columns that describe a point. Equal tables give equal HTML.
    """

    rows: pd.DataFrame
    cost: str
    gain: str
    chosen_by: str
    group: str

    @cached_property
    def points(self) -> pd.DataFrame:
        """The rows, cheapest first."""
        return self.rows.sort_values(self.cost, kind="stable", ignore_index=True)

    @cached_property
    def best(self) -> dict[float, int]:
        """Each cost as a budget, with the position of the point to take."""
        chosen = pareto_front(self.points, self.cost, self.chosen_by)
        budgets = self.points[self.cost].unique()
        places = np.searchsorted(chosen[self.cost], budgets, side="right") - 1
        return dict(zip(budgets.tolist(), chosen.index[places].tolist(), strict=True))

    @cached_property
    def texts(self) -> list[str]:
        """The points in words, a line per column that has something to say."""
        return [self._described(row) for row in self.points.to_dict("records")]

    def __repr__(self) -> str:
        told = self._told()
        return f"{told['count']} points; the best by {told['chosen_by']}: {told['best']}"

    def _repr_html_(self) -> str:
        template = Template(TEMPLATE.read_text(encoding="utf-8"))
        told = {name: escape(text) for name, text in self._told().items()}
        return template.substitute(told | self._drawn() | self._reacts() | FRAME)

    def _described(self, row: dict[Any, Any]) -> str:
        shares = {
            name: f"{100 * row[name]:.4g}\N{NO-BREAK SPACE}%"
            for name in (self.chosen_by, self.gain)
        }
        texts = {name: _text(value) for name, value in row.items()} | shares
        return "\n".join(f"{_title(name)} {text}" for name, text in texts.items() if text)

    def _told(self) -> dict[str, str]:
        """What the view says, at the highest budget."""
        columns = {name: getattr(self, name) for name in ("cost", "gain", "chosen_by", "group")}
        budget, best = list(self.best.items())[-1]
        return {name: _title(column) for name, column in columns.items()} | {
            "count": str(len(self.points)),
            "budget": _text(budget),
            "best": self.texts[best].replace("\n", ", "),
        }

    def _drawn(self) -> dict[str, str]:
        """What the view draws, as markup."""
        front = pareto_front(self.points, self.cost, self.gain)
        groups = self.rows[self.group].map(_text).unique()
        colors = dict(zip(groups, cycle(PALETTE), strict=False))
        fills = self.points[self.group].map(_text).map(colors)
        return {
            "key": "\n".join(_key(name, color) for name, color in colors.items()),
            "axes": self._picture.axes(),
            "front": self._picture.steps(front[self.cost], front[self.gain]),
            "points": self._picture.circles(fills, self.texts),
        }

    def _reacts(self) -> dict[str, Any]:
        """What the script goes by: a stop of the slider for each budget, and where it begins."""
        picture, last = self._picture, list(self.best.values())[-1]
        stops = [
            {"x": picture.x(budget), "budget": _text(budget), "best": best}
            for budget, best in self.best.items()
        ]
        stops[-1]["x"] = RIGHT  # nothing lies beyond
        return {
            "stops": json.dumps(stops).replace("<", "\\u003c"),  # no text ends the script
            "last": len(stops) - 1,
            "x": picture.x(picture.costs[last]),
            "y": picture.y(picture.gains[last]),
        }

    @cached_property
    def _picture(self) -> Picture:
        return Picture(self.points[self.cost].tolist(), self.points[self.gain].tolist())


def _check(rows: pd.DataFrame, cost: str, shares: Sequence[str]) -> None:
    if rows.empty:
        raise LabError(f"no row has {cost}, {' and '.join(shares)}", "give at least one")
    if (rows[cost] <= 0).any():
        raise LabError(f"{cost} is not above 0 in all rows", "its axis is logarithmic")
    for share in shares:
        if not rows[share].between(0, 1).all():
            raise LabError(f"{share} is not from 0 to 1 in all rows", "give shares, not percent")


def _title(column: str) -> str:
    return column.replace("_", " ")


def _text(value: Any) -> str:  # noqa: ANN401
    real = isinstance(value, Real) and not isinstance(value, bool)
    return number(float(value)) if real else str(value)


def _key(name: str, color: str) -> str:
    return f'<span><i style="background: {color}"></i>{escape(name)}</span>'
