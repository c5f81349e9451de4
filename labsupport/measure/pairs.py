"""Pairs of networks that do the same in two ways, clocked against each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

import pandas as pd
from torch import Tensor, nn

from labsupport.measure.latency import clock_stream

SPEEDUP = [f"speedup{end}_clocked" for end in ("", "_low", "_high")]


class Pair(Protocol):
    """Two networks by their names, the base first, their images, and what to write down of them."""

    @property
    def both(self) -> Mapping[str, nn.Module]:
        """The two ways."""

    @property
    def x(self) -> Tensor:
        """Images (N, ...) for both."""

    @property
    def about(self) -> Mapping[str, str | float]:
        """Columns by their names."""


def clock_pairs(pairs: Iterable[Pair], rounds: int = 7) -> pd.DataFrame:
    """How many times as fast as the first the second of each pair is, image by image.

    A row for each pair: its own columns, then the speed-up with its 95 % interval. Without a pair
    an empty table with the speed-ups' columns.
    """
    rows = []
    for pair in pairs:
        base, other = pair.both
        ratio = clock_stream(pair.both, pair.x, rounds=rounds).ratio(base, other)
        rows.append({**pair.about, **ratio.columns("speedup")})
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=SPEEDUP, dtype=float)
