"""Points in a frame as inline SVG: costs across, logarithmic; shares up, as ever rarer errors."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape

from matplotlib.ticker import LogLocator

from labsupport.plots.shares import log_odds, ticks
from labsupport.plots.ticks import round_values

WIDTH, HEIGHT = 640, 360
LEFT, RIGHT, TOP, BOTTOM = 72, 628, 8, 316  # the frame
FRAME = {"width": WIDTH, "height": HEIGHT, "right": RIGHT, "top": TOP, "deep": BOTTOM - TOP}
AIR = 0.05  # of the frame, between its border and the outermost points


@dataclass(frozen=True)
class Axis:
    """Where values stand: scaled, the lowest near `start`, the highest near `end`."""

    values: Sequence[float]
    scale: Callable[[float], float]
    start: float
    end: float

    @cached_property
    def _range(self) -> tuple[float, float]:
        """The scaled values at start and end."""
        low, high = self.scale(min(self.values)), self.scale(max(self.values))
        air = AIR * (high - low) or 1
        return low - air, high + air

    def __call__(self, value: float) -> float:
        """The place of a value."""
        low, high = self._range
        share = (self.scale(value) - low) / (high - low)
        return round(self.start + share * (self.end - self.start), 1)


@dataclass(frozen=True)
class Picture:
    """What is drawn of points with these costs and gains."""

    costs: Sequence[float]
    gains: Sequence[float]

    @cached_property
    def x(self) -> Axis:
        """From a cost to its place across."""
        return Axis(self.costs, math.log10, LEFT, RIGHT)

    @cached_property
    def y(self) -> Axis:
        """From a gain to its place down the picture."""
        return Axis(self.gains, lambda share: float(log_odds(share)), BOTTOM, TOP)

    def axes(self) -> str:
        """Grid and figures."""
        low, high = min(self.costs), max(self.costs)
        decades = LogLocator(subs=(1, 2, 5) if high < 1000 * low else (1,)).tick_values(low, high)
        costs = round_values(low, high, decades, scale=math.log10, most=12)
        gains = ticks(min(self.gains), max(self.gains), most=12)
        across = {self.x(cost): _short(cost) for cost in costs}
        up = {self.y(gain): f"{100 * gain:.4g} %" for gain in gains}
        lines = [f"M{place} {TOP}V{BOTTOM}" for place in across]
        lines += [f"M{LEFT} {place}H{RIGHT}" for place in up]
        texts = [_words(place, BOTTOM + 16, text, "middle") for place, text in across.items()]
        texts += [_words(LEFT - 6, place + 4, text, "end") for place, text in up.items()]
        return "\n".join([f'<path class="grid" d="{"".join(lines)}"/>', *texts])

    def steps(self, costs: Iterable[float], gains: Iterable[float]) -> str:
        """A line through points in steps, up at each of them, to the end of the frame."""
        ends = [(self.x(cost), self.y(gain)) for cost, gain in zip(costs, gains, strict=True)]
        (x, y), *others = ends
        return f"M{x} {y}" + "".join(f"H{x}V{y}" for x, y in others) + f"H{RIGHT}"

    def circles(self, fills: Iterable[str], texts: Iterable[str]) -> str:
        """The points, each with a color and a text for those who point at it."""
        each = zip(self.costs, self.gains, fills, texts, strict=True)
        return "\n".join(
            f'<circle class="point" r="4.5" cx="{self.x(cost)}" cy="{self.y(gain)}" fill="{fill}">'
            f"<title>{escape(text)}</title></circle>"
            for cost, gain, fill, text in each
        )


def _words(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x}" y="{y:g}" text-anchor="{anchor}">{text}</text>'


def _short(value: float) -> str:
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:g}{name}"
    return f"{value:g}"
